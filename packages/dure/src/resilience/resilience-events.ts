/** Whether calls are let through; half-open: one, to see. */
export type BreakerState = "closed" | "open" | "half-open";

/** Something that a metric counts or a log tells. */
export type ResilienceEvent =
  | {
      readonly kind: "breaker-opened" | "breaker-half-open" | "breaker-closed";
      readonly dependency: string;
    }
  /** An attempt failed, and the next (`attempt`, from 2) comes after `waitMs`. */
  | {
      readonly kind: "retried";
      readonly dependency: string;
      readonly attempt: number;
      readonly waitMs: number;
    }
  /** It would have been repeated, and the budget was spent. */
  | { readonly kind: "retry-denied"; readonly dependency: string }
  | { readonly kind: "timed-out"; readonly dependency: string }
  /** Not sent at all. */
  | {
      readonly kind: "refused";
      readonly dependency: string;
      readonly by: "breaker" | "bulkhead";
    };

/** How a dependency stands, and what this process has seen of it since it started. */
export interface DependencySnapshot {
  readonly breaker: BreakerState;
  /** Calls under way, and in the queue of the bulkhead. */
  readonly active: number;
  readonly queued: number;
  /** Retries that the budget allows at once. */
  readonly retryBudgetLeft: number;
  readonly calls: number;
  /** Calls that ended without an answer, refused ones included. */
  readonly failed: number;
  readonly retries: number;
  readonly retriesDenied: number;
  readonly timeouts: number;
  readonly refusedByBreaker: number;
  readonly refusedByBulkhead: number;
  readonly fallbacks: number;
  readonly breakerOpenings: number;
}
