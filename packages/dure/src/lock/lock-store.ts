import type { Statement } from "../core/transaction.ts";

/** A lock that is wanted, and for whom. */
export interface LeaseRequest {
  readonly key: string;
  /** New for each acquisition, so that nobody else's lease is taken for ours. */
  readonly holder: string;
  /** Which process, for people. */
  readonly label: string;
  readonly leaseMs: number;
  /** For how long the caller will ask again; 0: not at all. Then somebody may have to be told when the lock is free. */
  readonly waitMs: number;
}

/** Granted under a token, or held by somebody for at most so long. */
export type LeaseAnswer =
  | { readonly kind: "granted"; readonly token: number }
  | { readonly kind: "held"; readonly remainingMs: number };

/** Whose lease. */
export interface LeaseHolder {
  readonly key: string;
  readonly holder: string;
}

/** A lock that somebody holds. Times are by the store's clock. */
export interface HeldLease extends LeaseHolder {
  readonly token: number;
  /** Which process: service, host and process id. */
  readonly label: string;
  readonly acquiredAt: string | undefined;
  readonly remainingMs: number;
}

/**
 * The leases of locks. Each method is one decision about a key, made whole or not at all, and decisions about a key
 * happen one after the other. Only the store's own clock says whose time is over, read when the decision is made.
 * Nobody but the holder renews or releases. A lost answer is asked for again with the same holder.
 */
export interface LockStore extends LockAdminStore {
  /**
   * Grants the lock when it is free or its lease is over, for `leaseMs` from the moment of the decision. Tokens of one
   * key grow with each grant, also after the lock was forgotten, or its store has lost what it knew. The holder that
   * has it already is granted it anew, under the same token.
   */
  acquire(request: LeaseRequest): Promise<LeaseAnswer>;
  /** For `leaseMs` from the decision on. False: it is not held by this holder any more, and never will be. */
  renew(lease: LeaseHolder & { readonly leaseMs: number }): Promise<boolean>;
  /**
   * Free from now on; with `keepMs` not before so many milliseconds after the grant. False: this holder did not
   * hold it, and nothing was changed.
   */
  release(lease: LeaseHolder & { readonly keepMs: number }): Promise<boolean>;
  /**
   * Where leases are in the database of the caller's transaction: the statement to be run last in it. It releases the
   * lock in the same COMMIT, and fails with LEASE_LOST when it is not held any more. Nobody is granted the lock
   * between this statement and the end of the transaction.
   */
  readonly releaseInCommit?: (lease: LeaseHolder) => Statement;
  /** Says that the lock was released, to whoever waits for it. A hint; never rejects. */
  tellReleased(key: string): void;
  /** Calls `wake` when the lock may be free. Hints may be lost. Returns how to end it. */
  listen(key: string, wake: () => void): () => void;
}

/** What an operator may see of locks and do to them. */
export interface LockAdminStore {
  /** Those that are held now and whose keys begin so, by key. */
  list(filter: { readonly prefix: string; readonly limit: number }): Promise<readonly HeldLease[]>;
  /** Frees the lock whoever holds it, and writes down who did it and why, both or neither. False: nobody held it. */
  forceRelease(
    key: string,
    by: { readonly actor: string; readonly reason: string },
  ): Promise<boolean>;
}
