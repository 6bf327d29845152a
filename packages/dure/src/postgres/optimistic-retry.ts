import { retryConflicts } from "../isolation/optimistic-retry.ts";
import type { OptimisticRetryOptions, OptimisticWork } from "../isolation/optimistic-retry.ts";
import { classifySqlError } from "./sqlstate.ts";

/**
 * Runs work that may meet others at the same rows: up to three times by default, with pauses drawn between 20
 * and 80 ms. Tried again are VERSION_CONFLICT and the conflicts of PostgreSQL: 40001 (serialization), 40P01
 * (deadlock) and 55P03 (lock not available). Anything else passes at once, and so does the last conflict.
 *
 * The work is a whole transaction, from its first read to COMMIT: a conflict has ended the one before, so
 * reads of before it mean nothing. What it does outside of the database is done with each attempt. If the
 * process dies here, nothing of the attempt under way is there, unless its COMMIT had been answered.
 *
 * @throws CONFIGURATION_INVALID before the first attempt, when an option is out of range
 * @throws VERSION_CONFLICT when the last attempt met one too
 * @throws the signal's reason, when it has aborted before an attempt
 */
export function withOptimisticRetry<Result>(
  work: OptimisticWork<Result>,
  options: OptimisticRetryOptions = {},
): Promise<Result> {
  return retryConflicts(work, options, (error) => classifySqlError(error) === "conflict");
}
