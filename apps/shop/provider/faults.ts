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

/** Time in milliseconds and randomness in [0, 1), so that a test decides both. */
export interface FaultSources {
  readonly nowMs: () => number;
  readonly random: () => number;
}

/** Starts without any faults. */
export function createFaultInjector({ nowMs, random }: FaultSources): FaultInjector {
  let faults: ProviderFaults = {};
  let outageEndsAtMs = 0;
  const happens = (rate: number | undefined): boolean => rate !== undefined && random() < rate;
  return {
    replace(next) {
      faults = next;
      outageEndsAtMs = nowMs() + (next.outageMs ?? 0);
    },
    next() {
      if (nowMs() < outageEndsAtMs) {
        return { latencyMs: 0, kind: random() < 0.5 ? "disconnect" : "unavailable" };
      }
      const latencyMs = drawLatency(faults.latencyMs, random);
      if (happens(faults.failureRate)) return { latencyMs, kind: "unavailable" };
      return { latencyMs, kind: happens(faults.answerLostRate) ? "answer-lost" : "none" };
    },
  };
}

function drawLatency(latency: ProviderFaults["latencyMs"], random: () => number): number {
  if (latency === undefined) return 0;
  if (typeof latency === "number") return latency;
  const [min, max] = latency;
  return min + Math.floor(random() * (max - min + 1));
}
