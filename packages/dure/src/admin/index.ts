export { createDeadLetters } from "./dead-letters.ts";
export type { DeadLetters } from "./dead-letters.ts";
export type {
  Actor,
  AdminStore,
  DeadLetter,
  DeadLetterFilter,
  StoreStatus,
} from "./admin-store.ts";
