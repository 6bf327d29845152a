export { createParticipantBarrier } from "./barrier.ts";
export type { CompensationOutcome, ForwardOutcome, ParticipantBarrier } from "./barrier.ts";
export type { BarrierStore, ParticipantAction } from "./barrier-store.ts";
