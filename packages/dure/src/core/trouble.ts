import type { Clock } from "./clock.ts";

/** What a loop that goes on after failures says of them. */
export interface Trouble {
  /** Says it, unless it was said and is not over yet. */
  failed(error: unknown): void;
  /** Says that it is over once nothing has failed for a while. */
  succeeded(): void;
}

/**
 * Says once that something fails, however often, and once when it has worked for `settleMs`: what comes and
 * goes many times a second is one trouble, not thirty thousand.
 */
export function createTrouble(parts: {
  readonly clock: Clock;
  readonly settleMs: number;
  readonly say: (error: unknown) => void;
  readonly sayOver: () => void;
}): Trouble {
  const { clock, settleMs, say, sayOver } = parts;
  let isSaid = false;
  let failedAt = -Infinity;
  return {
    failed(error) {
      failedAt = clock.monotonic();
      if (!isSaid) say(error);
      isSaid = true;
    },
    succeeded() {
      if (!isSaid || clock.monotonic() - failedAt < settleMs) return;
      isSaid = false;
      sayOver();
    },
  };
}
