import type { TransactionHandle } from "../core/transaction.ts";
import type { VersionConflict } from "./version-conflict.ts";

/** The id of a row, as the driver gives it or as text. */
export type RowId = string | number | bigint;

/** The named columns of a row, as the driver gives them. */
export type RowOf<Column extends string> = Readonly<Record<Column, unknown>>;

/** Which row is to go from which states to which; what else changes with it. */
export interface TransitionRequest<Column extends string, Status extends string> {
  readonly id: RowId;
  /** The states from which it is legal: at least one. */
  readonly from: readonly Status[];
  readonly to: Status;
  /** Moves only if it still has this version. Needs `versionColumn`. */
  readonly version?: number;
  /** Columns that are set with it. */
  readonly set?: Partial<RowOf<Column>>;
}

/** What became of a guarded transition. */
export type TransitionOutcome =
  /** `version`: the new one, where there is a version column. */
  | { readonly kind: "moved"; readonly version: number | undefined }
  | { readonly kind: "not-found" }
  /** It is in a state from which there is no such way; nothing was changed. */
  | { readonly kind: "illegal"; readonly status: string; readonly version: number | undefined }
  | VersionConflict;

/** What became of a guarded versioned update. */
export type UpdateOutcome =
  | { readonly kind: "updated"; readonly version: number }
  | { readonly kind: "not-found" }
  | VersionConflict;

/** What became of an attempt to lock a row. */
export type RowLockOutcome<Column extends string> =
  | { readonly kind: "locked"; readonly row: RowOf<Column> }
  | { readonly kind: "not-found" }
  /** Another transaction had it for all of `waitMs`. Yours is as it was, and can go on. */
  | { readonly kind: "busy" };

/** What a value turned out to be. */
export type RereadOutcome<Column extends string> =
  /** As it was read before, and locked: so it stays until this transaction ends. */
  | { readonly kind: "unchanged"; readonly row: RowOf<Column> }
  /** The columns that are not as they were, and the row as it is now, locked. */
  | {
      readonly kind: "changed";
      readonly changed: readonly Column[];
      readonly row: RowOf<Column>;
    }
  | { readonly kind: "not-found" }
  | { readonly kind: "busy" };

/**
 * One of your tables, with the countermeasures against lost updates and dirty reads between sagas. Each is a
 * decision about one row under that row's lock, which the transaction keeps until it ends; nothing lasts
 * beyond it, and a process that dies leaves nothing behind. Rivals wait for each other's transactions: bounded
 * by `waitMs` in `lockRow` and `rereadValue`, elsewhere by your `lock_timeout`. Who locks several rows does it in
 * one order, or meets deadlocks (40P01). At REPEATABLE READ and above a row that was changed since the
 * transaction's first statement fails with 40001.
 *
 * Errors of the database come as the driver threw them, and end the transaction as ever.
 */
export interface GuardedTable<Column extends string, Status extends string> {
  /**
   * Moves the row to `to` if it is in one of the states of `from`, in one statement; of many at the same time
   * from one state, one moves. Raises the version where there is a version column.
   *
   * @throws CONFIGURATION_INVALID when `from` is empty, or a name is not one of those given at construction
   */
  transition(
    tx: TransactionHandle,
    request: TransitionRequest<Column, Status>,
  ): Promise<TransitionOutcome>;
  /**
   * Sets the columns and raises the version if the row still has the version that you read: an update that
   * was made meanwhile is never overwritten. On `version-conflict` throw `new VersionConflictError(outcome)` to
   * roll back and begin again in `withOptimisticRetry`.
   *
   * @throws CONFIGURATION_INVALID without a version column, or for a name that was not given at construction
   */
  updateVersioned(
    tx: TransactionHandle,
    request: { readonly id: RowId; readonly version: number; readonly set: Partial<RowOf<Column>> },
  ): Promise<UpdateOutcome>;
  /**
   * Locks the row (`for update`) and reads its columns as they are then. Waits `waitMs` milliseconds at most
   * (0 to an hour; 5000 by default; 0: not at all); the session's `lock_timeout` is afterwards what it was.
   *
   * @throws NOT_IN_TRANSACTION when the handle is not inside a transaction: nothing is locked
   * @throws SCHEMA_MISSING when it has to wait and the library's functions are missing
   */
  lockRow(
    tx: TransactionHandle,
    request: { readonly id: RowId; readonly waitMs?: number },
  ): Promise<RowLockOutcome<Column>>;
  /**
   * Reads again, under the row's lock, what was read before it: in an earlier step of the saga, or for a page that
   * a customer had open. The database compares, by each column's own type; a value that lost something on
   * its way (a timestamp's microseconds in a `Date`) counts as changed. Waits as `lockRow` does.
   *
   * @throws NOT_IN_TRANSACTION as `lockRow`
   * @throws SCHEMA_MISSING as `lockRow`
   */
  rereadValue(
    tx: TransactionHandle,
    request: {
      readonly id: RowId;
      readonly before: Partial<RowOf<Column>>;
      readonly waitMs?: number;
    },
  ): Promise<RereadOutcome<Column>>;
}
