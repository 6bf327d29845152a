export { createParticipantBarrier } from "./barrier.ts";
export type {
  CompensationOutcome,
  ForwardOutcome,
  ParticipantBarrier,
  RefusalOutcome,
} from "./barrier.ts";
export type { BarrierStore, ParticipantAction, StoredRefusal } from "./barrier-store.ts";
