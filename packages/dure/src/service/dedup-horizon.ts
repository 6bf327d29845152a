import type { RetryPolicy } from "../core/backoff.ts";
import { DureError } from "../core/errors.ts";

/** How long a message may come again, and how long it is known. */
export interface DedupHorizon {
  readonly service: string;
  /** How long dedup records are kept; undefined: not known, so nothing is checked. */
  readonly inboxMs: number | undefined;
  /** How long the transport can deliver a message again; undefined: not known, and not counted. */
  readonly transportMs: number | undefined;
  readonly retry: RetryPolicy;
  /** How long messages wait in retry topics, where there are any. */
  readonly retryDelaysMs: readonly number[];
  readonly redriveWindowMs: number;
}

/**
 * Refuses a start whose dedup records would be gone before the last copy of a message can come: it would be
 * handled twice (law I2). Parked messages keep their records, whatever their age.
 * @throws DEDUP_HORIZON_TOO_SHORT naming all figures
 */
export function assertDedupHorizon(horizon: DedupHorizon): void {
  const { service, inboxMs, transportMs, retry, redriveWindowMs } = horizon;
  const inTopicsMs = horizon.retryDelaysMs.reduce((sum, delayMs) => sum + delayMs, 0);
  const retryMs = Math.max(longestRetryMs(retry), inTopicsMs);
  const neededMs = (transportMs ?? 0) + retryMs + redriveWindowMs;
  if (inboxMs === undefined || inboxMs >= neededMs) return;
  const transport =
    transportMs === undefined
      ? "an unknown time that the transport keeps it"
      : `${period(transportMs)} that the transport keeps it (retentionMs)`;
  throw new DureError(
    "DEDUP_HORIZON_TOO_SHORT",
    `"${service}" keeps dedup records for ${period(inboxMs)} (retention.inboxMs), but a message may come again for ${period(neededMs)}: ${transport}, ${period(retryMs)} of attempts (consumer.retry), ${period(redriveWindowMs)} in which it may be redriven (redriveWindowMs). It would be handled twice. Set retention.inboxMs to at least ${neededMs}, or lower the others`,
  );
}

/** The longest time from the first attempt to the last. */
export function longestRetryMs({ attempts, baseMs, maxMs }: RetryPolicy): number {
  let total = 0;
  // At most 1,000 attempts: the options are checked.
  for (let failures = 1; failures < attempts; failures += 1) {
    total += Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 52));
  }
  return total;
}

function period(milliseconds: number): string {
  const days = milliseconds / 86_400_000;
  if (days >= 1) return `${Number(days.toFixed(1))} days`;
  const hours = milliseconds / 3_600_000;
  if (hours >= 1) return `${Number(hours.toFixed(1))} hours`;
  return `${Number((milliseconds / 1_000).toFixed(1))} s`;
}
