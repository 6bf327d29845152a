import type { Clock } from "./clock.ts";

/** How long to wait between attempts, and how many attempts there are. */
export interface RetryPolicy {
  /** Attempts in all, the first included. @defaultValue 8 */
  readonly attempts: number;
  /** The ceiling of the wait after the first failure; it doubles with each further failure. @defaultValue 200 */
  readonly baseMs: number;
  /** The highest ceiling. @defaultValue 60000 */
  readonly maxMs: number;
}

/** Eight attempts, 200 ms doubled up to a minute, full jitter. */
export const defaultRetryPolicy: RetryPolicy = { attempts: 8, baseMs: 200, maxMs: 60_000 };

/**
 * The wait in milliseconds after the given number of failures (1 or more): uniform between 0 and the
 * ceiling, so that many who failed together do not come back together.
 * Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
 */
export function backoffMs(
  failures: number,
  policy: Pick<RetryPolicy, "baseMs" | "maxMs">,
  clock: Pick<Clock, "random">,
): number {
  const ceiling = Math.min(policy.maxMs, policy.baseMs * 2 ** Math.min(failures - 1, 52));
  return Math.floor(clock.random() * ceiling);
}
