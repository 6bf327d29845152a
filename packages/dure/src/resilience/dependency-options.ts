import { DureError } from "../core/errors.ts";

/** How calls to one dependency are looked after. Every number is checked at the start. */
export interface DependencyOptions {
  /** For one attempt, in milliseconds. */
  readonly timeoutMs: number;
  /** Attempts after the first, of a call that may be repeated. `false`: none, because somebody else repeats it. */
  readonly retry: RetryOptions | false;
  /** Opens when a share of the last calls has failed; each call counts once, with all its attempts. */
  readonly breaker: BreakerOptions;
  /** Calls at once in this process; `false`: no limit. */
  readonly bulkhead: BulkheadOptions | false;
}

/** Waits between attempts: uniform between 0 and `baseMs` × 2ⁿ, no more than `maxMs`, no less than Retry-After. */
export interface RetryOptions {
  readonly retriesMax: number;
  readonly baseMs: number;
  readonly maxMs: number;
  /** A dependency that asks for a longer pause is not asked again by this call. */
  readonly retryAfterMsMax: number;
  /** Retries as a share of calls, 0 to 1: above it nobody retries, so that an outage does not become a storm. */
  readonly budgetShare: number;
  /** Retries that are there at first, and at most saved up. */
  readonly budgetReserve: number;
}

/** When a breaker opens and for how long. */
export interface BreakerOptions {
  /** Of the last calls: so many are looked at, and it takes as many to judge. */
  readonly callCount: number;
  /** Failed calls of those, 0 to 1, at which it opens. */
  readonly failureShare: number;
  /** Then one call is let through: it closes the breaker or opens it again. */
  readonly openMs: number;
}

/** How many calls at once, and how many wait for their turn. */
export interface BulkheadOptions {
  readonly concurrency: number;
  readonly queueMax: number;
}

/** For any dependency: 5 s, 3 retries of 100 ms × 2ⁿ, a budget of 20 %; opens at 50 % of 20 calls for 10 s; 64 at once. */
export const standardPreset: DependencyOptions = {
  timeoutMs: 5_000,
  retry: {
    retriesMax: 3,
    baseMs: 100,
    maxMs: 2_000,
    retryAfterMsMax: 5_000,
    budgetShare: 0.2,
    budgetReserve: 10,
  },
  breaker: { callCount: 20, failureShare: 0.5, openMs: 10_000 },
  bulkhead: { concurrency: 64, queueMax: 256 },
};

/** As {@link standardPreset}, and stricter: opens at 40 % of 20 calls, for 30 s. For what moves money. */
export const paymentPreset: DependencyOptions = {
  ...standardPreset,
  breaker: { callCount: 20, failureShare: 0.4, openMs: 30_000 },
};

/**
 * Checks all of it.
 * @throws CONFIGURATION_INVALID naming every mistake at once
 */
export function checkDependency(name: string, options: DependencyOptions): void {
  const problems: string[] = [];
  const range = (what: string, value: number, min: number, max: number, isWhole = true): void => {
    if ((!isWhole || Number.isInteger(value)) && value >= min && value <= max) return;
    const kind = isWhole ? "a whole number" : "a number";
    problems.push(`${what}: must be ${kind} from ${min} to ${max}, got ${String(value)}`);
  };
  const { timeoutMs, retry, breaker, bulkhead } = options;
  range("timeoutMs", timeoutMs, 1, 3_600_000);
  if (retry !== false) {
    range("retry.retriesMax", retry.retriesMax, 0, 100);
    range("retry.baseMs", retry.baseMs, 1, 3_600_000);
    range("retry.maxMs", retry.maxMs, retry.baseMs, 3_600_000);
    range("retry.retryAfterMsMax", retry.retryAfterMsMax, 0, 3_600_000);
    range("retry.budgetShare", retry.budgetShare, 0, 1, false);
    range("retry.budgetReserve", retry.budgetReserve, 0, 10_000);
  }
  range("breaker.callCount", breaker.callCount, 1, 10_000);
  range("breaker.failureShare", breaker.failureShare, 0.01, 1, false);
  range("breaker.openMs", breaker.openMs, 1, 3_600_000);
  if (bulkhead !== false) {
    range("bulkhead.concurrency", bulkhead.concurrency, 1, 100_000);
    range("bulkhead.queueMax", bulkhead.queueMax, 0, 100_000);
  }
  if (problems.length === 0) return;
  throw new DureError("CONFIGURATION_INVALID", `dependency "${name}": ${problems.join("; ")}`);
}
