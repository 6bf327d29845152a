export { createSemanticLocks } from "./semantic-lock.ts";
export type { AcquireRequest, LockClaim, SemanticLocks } from "./semantic-lock.ts";
export type {
  AcquireOutcome,
  HeldLock,
  LockBusy,
  LockChange,
  LockRefusal,
  SemanticLockStore,
} from "./semantic-lock-store.ts";
export type {
  GuardedTable,
  RereadOutcome,
  RowId,
  RowLockOutcome,
  RowOf,
  TransitionOutcome,
  TransitionRequest,
  UpdateOutcome,
} from "./guarded-table.ts";
export { retryConflicts } from "./optimistic-retry.ts";
export type { OptimisticRetryOptions, OptimisticWork } from "./optimistic-retry.ts";
export { VersionConflictError } from "./version-conflict.ts";
export type { VersionConflict } from "./version-conflict.ts";
