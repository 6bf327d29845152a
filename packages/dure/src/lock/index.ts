export type { FencedTable, FencingClaim, LockGuard } from "./guarded-write.ts";
export type { Leadership, LeadOutcome } from "./leader.ts";
export type { Lease } from "./lease.ts";
export type {
  LeadEveryOptions,
  LeadOptions,
  LockOptions,
  TryLockOptions,
  WithLockOptions,
} from "./lock-options.ts";
export type {
  HeldLease,
  LeaseAnswer,
  LeaseHolder,
  LeaseRequest,
  LockAdminStore,
  LockStore,
} from "./lock-store.ts";
export { createLocks } from "./locks.ts";
export type { Locked, Locks, LocksParts } from "./locks.ts";
