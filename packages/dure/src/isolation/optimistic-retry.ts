import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, isDureError } from "../core/errors.ts";

/** How often, and with which pauses. */
export interface OptimisticRetryOptions {
  /** Attempts in all, the first included: 1 to 100. @defaultValue 3 */
  readonly attempts?: number;
  /** The shortest pause, in milliseconds. @defaultValue 20 */
  readonly pauseMsMin?: number;
  /** The longest pause, in milliseconds, up to a minute; each is drawn between the two. @defaultValue 80 */
  readonly pauseMsMax?: number;
  /** Ends a pause at once, and no attempt begins after it. */
  readonly signal?: AbortSignal;
  /** @defaultValue the process's clock */
  readonly clock?: Pick<Clock, "random" | "sleep">;
}

/** One attempt at a piece of work that may meet a conflict. */
export type OptimisticWork<Result> = (attempt: { readonly attempt: number }) => Promise<Result>;

/**
 * Runs work again while it fails by a conflict: VERSION_CONFLICT, or what `isConflict` (of an adapter) knows
 * as one. Anything else passes at once, and so does the last conflict.
 *
 * @throws CONFIGURATION_INVALID before the first attempt, when an option is out of range
 */
export async function retryConflicts<Result>(
  work: OptimisticWork<Result>,
  options: OptimisticRetryOptions,
  isConflict: (error: unknown) => boolean,
): Promise<Result> {
  const { attempts = 3, pauseMsMin = 20, pauseMsMax = 80, signal, clock = systemClock } = options;
  checkOptions({ attempts, pauseMsMin, pauseMsMax });
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await work({ attempt });
    } catch (error) {
      const isOurs = isDureError(error, "VERSION_CONFLICT") || isConflict(error);
      if (!isOurs || attempt >= attempts) throw error;
    }
    // Drawn, so that those who met here do not meet again.
    await clock.sleep(pauseMsMin + clock.random() * (pauseMsMax - pauseMsMin), signal);
  }
}

function checkOptions(options: {
  readonly attempts: number;
  readonly pauseMsMin: number;
  readonly pauseMsMax: number;
}): void {
  const { attempts, pauseMsMin, pauseMsMax } = options;
  const problems: string[] = [];
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > 100) {
    problems.push("attempts: must be 1 to 100");
  }
  if (!(pauseMsMin >= 0 && pauseMsMin <= pauseMsMax && pauseMsMax <= 60_000)) {
    problems.push("pauseMsMin and pauseMsMax: must be 0 to 60000, the first not above the second");
  }
  if (problems.length === 0) return;
  throw new DureError("CONFIGURATION_INVALID", `withOptimisticRetry: ${problems.join("; ")}`);
}
