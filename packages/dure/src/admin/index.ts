export { createDeadLetters } from "./dead-letters.ts";
export type { DeadLetters } from "./dead-letters.ts";
export { createLockControl } from "./lock-control.ts";
export type { LockControl } from "./lock-control.ts";
export { createRelayControl } from "./relay-control.ts";
export type { DrainOptions, DrainOutcome, RelayControl } from "./relay-control.ts";
export { createSagaControl } from "./saga-control.ts";
export type { SagaControl, SagaControlParts, SagaPage, SagaTimers } from "./saga-control.ts";
export type {
  ListedSaga,
  MovedDeadline,
  SagaAdminStore,
  SagaFilter,
  SagaPlace,
  SagaTimer,
  StoredCommandOutcome,
  StoredSagaCommand,
} from "./saga-admin-store.ts";
export type {
  RecordedSaga,
  SagaDetails,
  SagaJournalLine,
  SagaStepDetails,
} from "../saga/saga-details.ts";
export { createSemaphoreControl } from "./semaphore-control.ts";
export type { SemaphoreControl } from "./semaphore-control.ts";
export type {
  SemaphoreAdminStore,
  SemaphorePlace,
  SemaphoreStatus,
} from "./semaphore-admin-store.ts";
export type { Actor, ActorWithReason } from "./actor.ts";
export type {
  AdminStore,
  DeadLetter,
  DeadLetterFilter,
  DeadLetterSide,
  PendingEvent,
  RebasedShard,
  RelayResync,
  RelayPause,
  RelayShard,
  RelayStatus,
  StoreStatus,
} from "./admin-store.ts";
