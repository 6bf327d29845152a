import type { Clock } from "dure";

/** Wakes one waiter. A ring while nobody waits is kept for the next wait. */
export interface Bell {
  ring(): void;
  /** Resolves after the time, or at once by a ring, and says whether it was rung. */
  wait(ms: number): Promise<boolean>;
}

/** A bell for one waiter. */
export function createBell(clock: Pick<Clock, "sleep">): Bell {
  let rung = new AbortController();
  return {
    ring: () => rung.abort(),
    async wait(ms) {
      await clock.sleep(ms, rung.signal);
      const wasRung = rung.signal.aborted;
      if (wasRung) rung = new AbortController();
      return wasRung;
    },
  };
}
