import type { Clock } from "dure";
import type { ProviderFaults } from "../contracts/http/faults.ts";

/** What goes wrong with one request. */
export interface Mishap {
  readonly latencyMs: number;
  /** `unavailable` and `disconnect` come before any effect, `answer-lost` after it. */
  readonly kind: "none" | "unavailable" | "disconnect" | "answer-lost";
}

/** The faults in force, and the dice that they are thrown with. */
export interface FaultInjector {
  /** Takes the place of all faults before. An outage begins now. */
  replace(faults: ProviderFaults): void;
  /** Throws the dice for one request. */
  next(): Mishap;
}

/** Starts without any faults. */
export function createFaultInjector(clock: Clock): FaultInjector {
  let faults: ProviderFaults = {};
  let outageEndsAtMs = 0;
  const happens = (rate: number | undefined): boolean =>
    rate !== undefined && clock.random() < rate;
  return {
    replace(next) {
      faults = next;
      outageEndsAtMs = clock.monotonic() + (next.outageMs ?? 0);
    },
    next() {
      if (clock.monotonic() < outageEndsAtMs) {
        return { latencyMs: 0, kind: clock.random() < 0.5 ? "disconnect" : "unavailable" };
      }
      const latencyMs = drawLatency(faults.latencyMs, clock);
      if (happens(faults.failureRate)) return { latencyMs, kind: "unavailable" };
      return { latencyMs, kind: happens(faults.answerLostRate) ? "answer-lost" : "none" };
    },
  };
}

function drawLatency(latency: ProviderFaults["latencyMs"], clock: Clock): number {
  if (latency === undefined) return 0;
  if (typeof latency === "number") return latency;
  const [min, max] = latency;
  return min + Math.floor(clock.random() * (max - min + 1));
}
