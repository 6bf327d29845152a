import { AsyncLocalStorage } from "node:async_hooks";
import { DureError, isDureError } from "../core/errors.ts";
import type { RunOptions, ServiceTransaction } from "../core/service-transaction.ts";
import type { Statement, TransactionHandle } from "../core/transaction.ts";
import { lead, leadEvery } from "./leader.ts";
import type { Leadership, LeadOutcome } from "./leader.ts";
import type { Lease, RenewedLease } from "./lease.ts";
import { readLockOptions } from "./lock-options.ts";
import type {
  LeadEveryOptions,
  LeadOptions,
  LockOptions,
  TryLockOptions,
  WithLockOptions,
} from "./lock-options.ts";
import { LockQueue } from "./lock-queue.ts";
import type { LockQueueParts } from "./lock-queue.ts";
import type { LeaseHolder } from "./lock-store.ts";

/** What work under a lock is given. */
export interface Locked<Client = unknown> {
  /** The transaction that the lock encloses: it commits before the lock is free, or not at all. */
  readonly tx: ServiceTransaction<Client>;
  readonly key: string;
  /** The fencing token, for what is written elsewhere. */
  readonly token: number;
  /** Who holds it: goes with the token to a guarded write. */
  readonly holder: string;
  /** Aborts when the lease is lost, or the transaction takes too long; then nothing is committed. */
  readonly signal: AbortSignal;
}

/**
 * Locks that are leases with fencing tokens: at most one holder per token, and tokens only grow.
 *
 * No lock can promise that its holder is alone at every moment: a process may freeze for longer than any lease. What
 * is promised is that a write of the one who lost it does not count: `withLock` checks it in the COMMIT, and a
 * guarded write wherever you write elsewhere. If the process dies here, the lock is free when the lease is over.
 *
 * Waiting is first come, first served within a process; between processes whoever asks first when it is free.
 * Not re-entrant: a lock that is wanted inside itself is refused at once.
 */
export interface Locks<Client = unknown> {
  /**
   * Takes the lock, runs `work` in a transaction of the service, commits, and releases: the lock cannot be free before
   * the commit. A transaction whose lease was lost does not commit. Do not talk to the network inside.
   *
   * @throws LOCK_TIMED_OUT when somebody else had it for all of `waitMs`: nothing was done
   * @throws LEASE_LOST when it was lost before COMMIT: rolled back; try the whole again
   * @throws TRANSACTION_TIMED_OUT when it took longer than `transactionMsMax`: rolled back
   * @throws FENCED when a later holder has written already: rolled back (locks outside the service's database)
   * @throws LOCK_REENTERED when the same key is held by the caller
   * @throws CONFIGURATION_INVALID
   * @throws what `work` throws, after the rollback, and what {@link Dure.transaction} throws
   */
  withLock<Result>(
    key: string,
    options: WithLockOptions,
    work: (locked: Locked<Client>) => Promise<Result>,
  ): Promise<Result>;
  /**
   * Waits for the lock. Release it in every case: `await using lease = await locks.acquire(key)`. What you write under
   * it is guarded only where you pass its token on.
   *
   * @throws LOCK_TIMED_OUT, CONFIGURATION_INVALID
   */
  acquire(key: string, options?: LockOptions & TryLockOptions): Promise<Lease>;
  /** As `acquire`, and does not wait. Undefined: somebody has it. */
  tryAcquire(key: string, options?: TryLockOptions): Promise<Lease | undefined>;
  /**
   * Runs `work` if nobody leads in `name` now. Nobody else begins before `atLeastMs` are over, by the store's clock,
   * however soon this is done; after `atMostMs` the signal aborts and another may lead. A leader that dies is followed
   * after 10 seconds, or `atLeastMs` if that is longer.
   *
   * @throws what `work` throws, after the lead was given up
   */
  lead<Result>(
    name: string,
    options: LeadOptions,
    work: (leadership: Leadership) => Promise<Result>,
  ): Promise<LeadOutcome<Result>>;
  /** Tries to lead again and again until the signal aborts: of many processes one does the work. Logs failures, never rejects. */
  leadEvery(
    name: string,
    options: LeadEveryOptions,
    work: (leadership: Leadership) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<void>;
}

/** What locks are made of. */
export interface LocksParts<Client> extends LockQueueParts {
  readonly service: string;
  /** Runs work in a transaction of the service. */
  readonly transaction: <Result>(
    work: (tx: ServiceTransaction<Client>) => Promise<Result>,
    more: {
      readonly last: () => Promise<readonly Statement[]>;
      readonly options: RunOptions;
    },
  ) => Promise<Result>;
  /** For locks outside the database of the transaction: what is run first in it. Fails with FENCED. */
  readonly guard: (
    tx: TransactionHandle,
    claim: LeaseHolder & { readonly token: number },
  ) => Promise<void>;
}

/** A lock around the code that runs now; closed, for whoever was begun inside and has outlived it. */
interface Enclosing {
  readonly key: string;
  isOpen: boolean;
}

const dayMs = 86_400_000;
const hold = { name: "holdMsMax", msDefault: 3_600_000, msMax: dayMs };
const transactionHold = { name: "transactionMsMax", msDefault: 30_000, msMax: 3_600_000 };

/** Makes {@link Locks} over a store. */
export function createLocks<Client>(parts: LocksParts<Client>): Locks<Client> {
  const queue = new LockQueue(parts);
  const enclosing = new AsyncLocalStorage<readonly Enclosing[]>();
  return {
    tryAcquire: async (key, options = {}) =>
      queue.tryAcquire(key, readLockOptions(key, options, hold, options.holdMsMax)),
    acquire: async (key, options = {}) =>
      queue.acquire(key, readLockOptions(key, options, hold, options.holdMsMax), options.signal),
    async withLock(key, options, work) {
      const { transactionMsMax, signal } = options;
      const settings = readLockOptions(key, options, transactionHold, transactionMsMax);
      const outer = enclosing.getStore() ?? [];
      if (outer.some((each) => each.key === key && each.isOpen)) throw reentered(key);
      await using lease = await queue.acquire(key, settings, signal);
      const here: Enclosing = { key, isOpen: true };
      try {
        return await enclosing.run([...outer, here], () =>
          commitUnder(parts, lease, settings.holdMsMax, work),
        );
      } finally {
        here.isOpen = false;
      }
    },
    lead: (name, options, work) => lead({ ...parts, queue }, name, options, work),
    leadEvery: (name, options, work, signal) =>
      leadEvery({ ...parts, queue }, { name, options, work }, signal),
  };
}

/** The lock encloses the transaction: this is all that there is of it, and nobody else can write it otherwise. */
async function commitUnder<Client, Result>(
  { store, transaction, guard }: LocksParts<Client>,
  lease: RenewedLease,
  msMax: number,
  work: (locked: Locked<Client>) => Promise<Result>,
): Promise<Result> {
  const { key, token, holder, signal } = lease;
  try {
    const result = await transaction(
      async (tx) => {
        if (store.releaseInCommit === undefined) {
          await guard(tx, { key, token, holder });
        }
        return work({ tx, key, token, holder, signal });
      },
      {
        last: async () => {
          lease.assertHeld();
          if (store.releaseInCommit === undefined) return [];
          lease.endRenewal();
          return [store.releaseInCommit({ key, holder })];
        },
        options: { msMax },
      },
    );
    if (store.releaseInCommit !== undefined) lease.wasReleased();
    return result;
  } catch (error) {
    // That nothing was committed is known, and why.
    if (signal.aborted && isDureError(error, "DATABASE_UNAVAILABLE")) throw signal.reason;
    throw error;
  }
}

function reentered(key: string): DureError {
  return new DureError(
    "LOCK_REENTERED",
    `lock "${key}" was wanted by work that holds it already: it would wait for itself. Pass the transaction on instead of taking the lock again`,
  );
}
