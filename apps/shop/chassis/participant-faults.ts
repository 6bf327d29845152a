import type { Clock } from "dure";
import type { ParticipantFaults } from "../contracts/http/faults.ts";

/** What goes wrong with one call. */
export interface Mishap {
  readonly latencyMs: number;
  readonly kind: "none" | "failure" | "refusal";
}

/** The faults in force, and the dice that they are thrown with. */
export interface ParticipantFaultInjector {
  /** Takes the place of all faults before. */
  replace(faults: ParticipantFaults): void;
  /** Throws the dice for one call. */
  next(): Mishap;
}

/** Starts without any faults. */
export function createParticipantFaultInjector(
  clock: Pick<Clock, "random">,
): ParticipantFaultInjector {
  let faults: ParticipantFaults = {};
  const happens = (rate: number | undefined): boolean =>
    rate !== undefined && clock.random() < rate;
  return {
    replace(next) {
      faults = next;
    },
    next() {
      const latencyMs = drawLatency(faults.latencyMs, clock);
      if (happens(faults.failureRate)) return { latencyMs, kind: "failure" };
      return { latencyMs, kind: happens(faults.refuseRate) ? "refusal" : "none" };
    },
  };
}

function drawLatency(
  latency: ParticipantFaults["latencyMs"],
  clock: Pick<Clock, "random">,
): number {
  if (latency === undefined) return 0;
  if (typeof latency === "number") return latency;
  const [min, max] = latency;
  return min + Math.floor(clock.random() * (max - min + 1));
}
