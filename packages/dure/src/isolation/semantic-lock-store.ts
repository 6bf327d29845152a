import type { TransactionHandle } from "../core/transaction.ts";

/** A lock that a saga has, or had when it was looked at. Times are by the database's clock, in ISO 8601. */
export interface HeldLock {
  readonly resource: string;
  /** The saga's id. */
  readonly owner: string;
  /** `RESERVING`: the saga is on its way; `RESERVED`: it has confirmed. A resource without a lock is AVAILABLE. */
  readonly state: "RESERVING" | "RESERVED";
  /** The fencing token: grows with each acquisition of the resource, and never starts again. */
  readonly token: number;
  readonly acquiredAt: string;
  /** Undefined: until it is released. */
  readonly expiresAt: string | undefined;
  /** What was left of it when it was looked at; at or below 0 it has expired and anyone may take it. */
  readonly remainingMs: number | undefined;
}

/** Nobody knows yet: another transaction had the lock's row in its hands for all of `waitMs`. */
export interface LockBusy {
  readonly kind: "busy";
}

/** What became of an attempt to take a lock. */
export type AcquireOutcome =
  | {
      readonly kind: "acquired";
      readonly lock: HeldLock;
      /** The expired lock that was in the way. Tell its owner: the sweeper will not find it any more. */
      readonly takenOver: HeldLock | undefined;
    }
  /** It was taken before by the same owner; its time goes on as it was. */
  | { readonly kind: "already-yours"; readonly lock: HeldLock }
  /** By whom, and until when. Not to be told to a customer as "out of stock". */
  | { readonly kind: "held-by-another"; readonly lock: HeldLock }
  | LockBusy;

/** Why a change of a lock was refused: nothing was changed. */
export type LockRefusal =
  /** Another owner has it: yours expired and was taken over, or it never was yours. */
  | { readonly kind: "held-by-another"; readonly lock: HeldLock }
  /** The same owner took it again, under the newer token that `lock` has. */
  | { readonly kind: "superseded"; readonly lock: HeldLock }
  /** Its time is over, and nobody has taken it yet: acquire it again, or give up. */
  | { readonly kind: "expired"; readonly lock: HeldLock }
  /** Nobody has it: it was released or swept, or never taken. */
  | { readonly kind: "not-held" }
  | LockBusy;

/** Which change; `token` null: the owner is enough; `leaseMs` null: no end. */
export interface LockChange {
  readonly action: "confirm" | "renew" | "release" | "verify";
  readonly resource: string;
  readonly owner: string;
  readonly token: number | null;
  readonly leaseMs: number | null;
  readonly waitMs: number;
}

/**
 * The rows of semantic locks. Each method is one decision under the lock of the resource's row, which is
 * kept until the caller's transaction ends, so that decisions about one resource happen one after the other.
 * The store's own clock alone says what has expired, read when the row is locked. The token survives the
 * lock: a resource's row is never forgotten.
 */
export interface SemanticLockStore {
  acquire(
    tx: TransactionHandle,
    request: {
      readonly resource: string;
      readonly owner: string;
      readonly leaseMs: number;
      readonly waitMs: number;
    },
  ): Promise<AcquireOutcome>;
  /** `done` has the lock as it is after the change, and after a release as it was. */
  change(
    tx: TransactionHandle,
    change: LockChange,
  ): Promise<{ readonly kind: "done"; readonly lock: HeldLock } | LockRefusal>;
  /** Undefined: AVAILABLE. Locks nothing. */
  read(tx: TransactionHandle, resource: string): Promise<HeldLock | undefined>;
  /** Frees expired locks, those that expired first; passes over rows that another transaction has in its hands. */
  sweepExpired(tx: TransactionHandle, limit: number): Promise<readonly HeldLock[]>;
}
