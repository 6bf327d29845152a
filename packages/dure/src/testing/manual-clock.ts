import type { Clock } from "../core/clock.ts";

/** A clock that stands still until it is told to go on. */
export interface ManualClock extends Clock {
  /** Moves both times on by `ms` milliseconds and ends the sleeps that are over, the shortest first. */
  advance(ms: number): void;
  /** Sleeps that are not over. */
  readonly sleeperCount: number;
}

interface Sleeper {
  readonly wakesAt: number;
  readonly wake: () => void;
}

/**
 * Makes a clock for tests. `random` gives the numbers of one fixed sequence, the same in every run.
 * A sleep of 0 milliseconds ends at once; every other ends in `advance`, or when its signal aborts.
 */
export function manualClock(options?: {
  /** Milliseconds since the epoch. @defaultValue 2026-01-01T00:00:00Z */
  readonly startsAt?: number;
  /** @defaultValue 1 */
  readonly seed?: number;
}): ManualClock {
  const startsAt = options?.startsAt ?? Date.UTC(2026, 0, 1);
  const random = createRandom(options?.seed ?? 1);
  const sleepers = new Set<Sleeper>();
  let elapsed = 0;
  return {
    now: () => startsAt + elapsed,
    monotonic: () => elapsed,
    random,
    sleep(ms, signal) {
      return new Promise((resolve) => {
        if (ms <= 0 || signal?.aborted === true) return resolve();
        const sleeper: Sleeper = { wakesAt: elapsed + ms, wake };
        function wake(): void {
          sleepers.delete(sleeper);
          signal?.removeEventListener("abort", wake);
          resolve();
        }
        sleepers.add(sleeper);
        signal?.addEventListener("abort", wake, { once: true });
      });
    },
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`a clock does not go back: advance(${ms})`);
      elapsed += ms;
      const due = [...sleepers].filter((sleeper) => sleeper.wakesAt <= elapsed);
      for (const sleeper of due.sort((a, b) => a.wakesAt - b.wakesAt)) sleeper.wake();
    },
    get sleeperCount() {
      return sleepers.size;
    },
  };
}

/** Source: mulberry32 by Tommy Ettinger, public domain. Good enough for jitter in a test. */
function createRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
