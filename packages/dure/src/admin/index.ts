export { createDeadLetters } from "./dead-letters.ts";
export type { DeadLetters } from "./dead-letters.ts";
export { createRelayControl } from "./relay-control.ts";
export type { DrainOptions, DrainOutcome, RelayControl } from "./relay-control.ts";
export type {
  Actor,
  ActorWithReason,
  AdminStore,
  DeadLetter,
  DeadLetterFilter,
  PendingEvent,
  RebasedShard,
  RelayPause,
  RelayShard,
  RelayStatus,
  StoreStatus,
} from "./admin-store.ts";
