import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type {
  AcquireOutcome,
  HeldLock,
  LockChange,
  LockRefusal,
  SemanticLockStore,
} from "./semantic-lock-store.ts";

/** A lock that one wants, and for whom. */
export interface AcquireRequest {
  /** What is locked, by a name of your own, such as `room:12`: 1 to 500 characters. */
  readonly resource: string;
  /** The saga's id: 1 to 200 characters. */
  readonly owner: string;
  /** Milliseconds, 1 to a year, for which it is held unless renewed. @defaultValue 1800000 (30 minutes) */
  readonly leaseMs?: number;
  /** Milliseconds, 0 to an hour, to wait for a rival transaction's end. @defaultValue 5000 */
  readonly waitMs?: number;
}

/** A lock that one has: what {@link SemanticLocks.acquire} answered. */
export interface LockClaim {
  readonly resource: string;
  readonly owner: string;
  /** Of the acquisition. An older one is refused, also of the right owner. */
  readonly token: number;
  /** Milliseconds, 0 to an hour, to wait for a rival transaction's end. @defaultValue 5000 */
  readonly waitMs?: number;
}

/**
 * Semantic locks: a saga marks what it has in its hands, so that others see it between its steps, when no
 * transaction is open. AVAILABLE, then RESERVING by `acquire`, then RESERVED by `confirm`.
 *
 * Everything is done in the caller's transaction and counts from its COMMIT on; if that rolls back or the
 * process dies, nothing has changed. If the process dies after COMMIT the lock stays until it expires, and
 * {@link SemanticLocks.sweepExpired} says whose it was. Rivals for a resource wait for each other's
 * transactions, for `waitMs` at most, and are then answered `busy`; at REPEATABLE READ and above the one
 * that waited fails with SQLSTATE 40001. Who takes several locks takes them in one order (sorted by name), or
 * meets deadlocks (40P01).
 *
 * Only the database's clock says what has expired. Tokens grow with each acquisition of a resource.
 *
 * Every method but `read`:
 * @throws NOT_IN_TRANSACTION when the handle is not inside a transaction: nothing was changed
 * @throws CONFIGURATION_INVALID when a name, a token or a time cannot be used
 * @throws SCHEMA_MISSING when the library's tables are missing
 */
export interface SemanticLocks {
  /** Takes a lock that is free or expired, or says who has it. Repeated by its owner it changes nothing. */
  acquire(tx: TransactionHandle, request: AcquireRequest): Promise<AcquireOutcome>;
  /**
   * RESERVED from now on: without end, or with `leaseMs` for so many milliseconds. Repeating it is harmless.
   * It is refused after the lock has expired, also when nobody has taken it.
   */
  confirm(
    tx: TransactionHandle,
    claim: LockClaim & { readonly leaseMs?: number },
  ): Promise<{ readonly kind: "confirmed"; readonly lock: HeldLock } | LockRefusal>;
  /**
   * Holds it for `leaseMs` milliseconds from now on (30 minutes by default), never for less than it had.
   * Refused after it has expired.
   */
  renew(
    tx: TransactionHandle,
    claim: LockClaim & { readonly leaseMs?: number },
  ): Promise<{ readonly kind: "renewed"; readonly lock: HeldLock } | LockRefusal>;
  /**
   * AVAILABLE again, whatever its state was. Without `token` the owner is enough, for a compensation that
   * never learned the token. `not-held` means that there was nothing to release.
   */
  release(
    tx: TransactionHandle,
    claim: Omit<LockClaim, "token"> & { readonly token?: number },
  ): Promise<{ readonly kind: "released"; readonly lock: HeldLock } | LockRefusal>;
  /**
   * The guard of a write: `held`, and nobody can take the lock over before this transaction ends. Write after
   * it, in the same transaction, and never on any other outcome.
   */
  verify(
    tx: TransactionHandle,
    claim: LockClaim,
  ): Promise<{ readonly kind: "held"; readonly lock: HeldLock } | LockRefusal>;
  /** Who has it now; undefined: AVAILABLE. An expired lock is there until it is taken or swept. Promises nothing for later. */
  read(
    tx: TransactionHandle,
    request: { readonly resource: string },
  ): Promise<HeldLock | undefined>;
  /**
   * Frees up to `limit` (1 to 10000, 100 by default) expired locks, those that expired first, and returns
   * what they were: tell their sagas in the same transaction (`tx.emit`), so that both commit or neither. Each
   * is returned to one caller: several may sweep at once, none waits. As many as `limit`: sweep again.
   */
  sweepExpired(
    tx: TransactionHandle,
    options?: { readonly limit?: number },
  ): Promise<readonly HeldLock[]>;
}

const leaseMsDefault = 1_800_000;
const waitMsDefault = 5_000;
const yearMs = 365 * 86_400_000;

/** Makes semantic locks over their store. `dure/postgres` has `postgresSemanticLocks`. */
export function createSemanticLocks(store: SemanticLockStore): SemanticLocks {
  async function change<Kind extends string>(
    tx: TransactionHandle,
    kind: Kind,
    request: Omit<LockChange, "waitMs"> & { readonly waitMs: number | undefined },
  ): Promise<{ readonly kind: Kind; readonly lock: HeldLock } | LockRefusal> {
    const checked = { ...request, waitMs: request.waitMs ?? waitMsDefault };
    check(checked);
    const outcome = await store.change(tx, checked);
    return outcome.kind === "done" ? { kind, lock: outcome.lock } : outcome;
  }

  return {
    async acquire(tx, { resource, owner, leaseMs = leaseMsDefault, waitMs = waitMsDefault }) {
      check({ resource, owner, leaseMs, waitMs, token: null });
      return store.acquire(tx, { resource, owner, leaseMs, waitMs });
    },
    confirm: (tx, { resource, owner, token, waitMs, leaseMs = null }) =>
      change(tx, "confirmed", { action: "confirm", resource, owner, token, leaseMs, waitMs }),
    renew: (tx, { resource, owner, token, waitMs, leaseMs = leaseMsDefault }) =>
      change(tx, "renewed", { action: "renew", resource, owner, token, leaseMs, waitMs }),
    release: (tx, { resource, owner, token = null, waitMs }) =>
      change(tx, "released", { action: "release", resource, owner, token, leaseMs: null, waitMs }),
    verify: (tx, { resource, owner, token, waitMs }) =>
      change(tx, "held", { action: "verify", resource, owner, token, leaseMs: null, waitMs }),
    async read(tx, { resource }) {
      refuse(resourceProblems(resource));
      return store.read(tx, resource);
    },
    async sweepExpired(tx, { limit = 100 } = {}) {
      refuse(isWithin(limit, 1, 10_000) ? [] : ["limit: must be 1 to 10000"]);
      return store.sweepExpired(tx, limit);
    },
  };
}

function check(request: Omit<LockChange, "action">): void {
  const { resource, owner, token, leaseMs, waitMs } = request;
  const problems = [...resourceProblems(resource)];
  if (!isName(owner, 200)) problems.push("owner: must be a text of 1 to 200 characters");
  if (token !== null && !isWithin(token, 1, Number.MAX_SAFE_INTEGER)) {
    problems.push("token: must be the number that acquire answered");
  }
  if (leaseMs !== null && !isWithin(leaseMs, 1, yearMs)) {
    problems.push(`leaseMs: must be a whole number of milliseconds from 1 to ${yearMs}`);
  }
  if (!isWithin(waitMs, 0, 3_600_000)) {
    problems.push("waitMs: must be a whole number of milliseconds from 0 to 3600000");
  }
  refuse(problems);
}

function resourceProblems(resource: string): readonly string[] {
  return isName(resource, 500) ? [] : ["resource: must be a text of 1 to 500 characters"];
}

function isName(value: unknown, lengthMax: number): boolean {
  return typeof value === "string" && value.length >= 1 && value.length <= lengthMax;
}

function isWithin(value: number, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= min && value <= max;
}

/** All mistakes at once. A missing token of plain JavaScript is caught here too: it is not null. */
function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new DureError("CONFIGURATION_INVALID", `semantic lock: ${problems.join("; ")}`);
}
