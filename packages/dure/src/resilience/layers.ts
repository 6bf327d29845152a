import {
  bulkhead as createBulkhead,
  BulkheadRejectedError,
  circuitBreaker,
  CircuitState,
  CountBreaker,
  handleWhen,
  isBrokenCircuitError,
  retry as createRetry,
  TaskCancelledError,
  timeout as createTimeout,
  TimeoutStrategy,
} from "cockatiel";
import type { IBackoff, IRetryBackoffContext } from "cockatiel";
import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { CallAbandoned, CallRefusedError, callTimedOut, TransientFailure } from "./call-failure.ts";
import type { BreakerOptions, BulkheadOptions, RetryOptions } from "./dependency-options.ts";
import type { BreakerState, ResilienceEvent } from "./resilience-events.ts";
import { createRetryBudget } from "./retry-budget.ts";

/** What an attempt is told. */
export interface AttemptContext {
  /** From 1. */
  readonly attempt: number;
  readonly signal: AbortSignal;
  readonly canRepeat: boolean;
}

/** One way to get the answer, with everything that is inside of it. */
export type Ask<Answer> = (context: AttemptContext) => Promise<Answer>;

/** Something around a call. The answer passes through untouched. */
export type Layer = <Answer>(next: Ask<Answer>) => Ask<Answer>;

/** Whom a layer belongs to, and whom it tells. */
export interface LayerParts {
  readonly dependency: string;
  readonly clock: Pick<Clock, "random" | "monotonic">;
  readonly tell: (event: ResilienceEvent) => void;
}

/** The names of the layers. */
export type LayerName = "bulkhead" | "breaker" | "retry" | "timeout";

/**
 * From outside in. The bulkhead first: who is not let in is no failure, and waits for nothing. Then the breaker, around
 * the retries: while it is open nothing is repeated, and a call counts once. The timeout is each attempt's own.
 */
export const layerOrder: readonly LayerName[] = ["bulkhead", "breaker", "retry", "timeout"];

/** Puts the layers around a call, the first of them outermost. */
export function within<Answer>(layers: readonly Layer[], ask: Ask<Answer>): Ask<Answer> {
  return layers.reduceRight((inner, layer) => layer(inner), ask);
}

/** The layer and how it stands. */
export interface BreakerLayer {
  readonly layer: Layer;
  readonly state: BreakerState;
}

/** Lets nothing through while too many of the last calls have failed; then one call, to see. */
export function breakerLayer(options: BreakerOptions, parts: LayerParts): BreakerLayer {
  const { dependency, clock, tell } = parts;
  const { callCount, failureShare, openMs } = options;
  let openedAt = 0;
  let isTrying = false;
  const policy = circuitBreaker(
    handleWhen(
      (error) =>
        // One that was abandoned says nothing, and must not close it.
        (error instanceof TransientFailure && !error.isBusy) ||
        (error instanceof CallAbandoned && isTrying),
    ),
    {
      halfOpenAfter: openMs,
      // It opens above its threshold, and this is meant to open at it.
      breaker: new CountBreaker({
        size: callCount,
        threshold: failureShare - 1e-9,
        minimumNumberOfCalls: callCount,
      }),
    },
  );
  policy.onBreak(() => {
    openedAt = clock.monotonic();
    tell({ kind: "breaker-opened", dependency });
  });
  policy.onHalfOpen(() => tell({ kind: "breaker-half-open", dependency }));
  policy.onReset(() => tell({ kind: "breaker-closed", dependency }));
  const refusal = (cause?: unknown): CallRefusedError => {
    const leftMs = Math.ceil(openedAt + openMs - clock.monotonic());
    const retryAfterMs = Math.min(Math.max(leftMs, 100), openMs);
    tell({ kind: "refused", dependency, by: "breaker" });
    return new CallRefusedError("BREAKER_OPEN", { dependency, retryAfterMs, cause });
  };
  return {
    layer: (next) => async (context) => {
      // The library would have the others wait for that one call, however long it takes.
      if (isTrying) throw refusal();
      const isTrial = policy.state !== CircuitState.Closed;
      isTrying = isTrial;
      try {
        return await policy.execute(() => next(context));
      } catch (error) {
        throw isBrokenCircuitError(error) ? refusal(error) : error;
      } finally {
        if (isTrial) isTrying = false;
      }
    },
    get state() {
      if (policy.state === CircuitState.Closed) return "closed";
      return policy.state === CircuitState.HalfOpen ? "half-open" : "open";
    },
  };
}

/** The layer and what is left to repeat with. */
export interface RetryLayer {
  readonly layer: Layer;
  readonly budgetLeft: number;
}

/** Repeats what may be repeated: a few times, ever more slowly, not against the dependency's word, and within the budget. */
export function retryLayer(options: RetryOptions, parts: LayerParts): RetryLayer {
  const { dependency, clock, tell } = parts;
  const { retriesMax, baseMs, maxMs, retryAfterMsMax } = options;
  const budget = createRetryBudget(options.budgetShare, options.budgetReserve);
  const next = ({ attempt, result }: IRetryBackoffContext<unknown>): IBackoff<never> => {
    const error = "error" in result ? result.error : undefined;
    const askedMs = error instanceof TransientFailure ? error.retryAfterMs : 0;
    const jitteredMs = backoffMs(attempt, { baseMs, maxMs }, clock);
    // Those who were all told the same do not all come at the same moment.
    const duration = askedMs > 0 ? askedMs + jitteredMs : jitteredMs;
    tell({ kind: "retried", dependency, attempt: attempt + 1, waitMs: duration });
    return { duration, next: next as never };
  };
  const mayRetry = (error: unknown, attempt: number): boolean => {
    if (!(error instanceof TransientFailure) || attempt > retriesMax) return false;
    if (error.retryAfterMs > retryAfterMsMax) return false;
    if (budget.spend()) return true;
    tell({ kind: "retry-denied", dependency });
    return false;
  };
  return {
    layer: (inner) => (context) => {
      budget.earn();
      if (!context.canRepeat) return inner(context);
      let attempt = 0;
      const policy = createRetry(
        handleWhen((error) => mayRetry(error, attempt)),
        { maxAttempts: retriesMax, backoff: { next } },
      );
      return policy.execute(() => inner({ ...context, attempt: (attempt += 1) }));
    },
    get budgetLeft() {
      return budget.left;
    },
  };
}

/** Ends an attempt that takes too long: its signal aborts, and nobody waits for it any more. */
export function timeoutLayer(timeoutMs: number, { dependency, tell }: LayerParts): Layer {
  const policy = createTimeout(timeoutMs, TimeoutStrategy.Aggressive);
  return (next) => async (context) => {
    try {
      return await policy.execute(({ signal }) =>
        next({ ...context, signal: AbortSignal.any([context.signal, signal]) }),
      );
    } catch (error) {
      if (!(error instanceof TaskCancelledError)) throw error;
      tell({ kind: "timed-out", dependency });
      throw new TransientFailure(callTimedOut(dependency, timeoutMs), { isBusy: false });
    }
  };
}

/** The layer and who is in it. */
export interface BulkheadLayer {
  readonly layer: Layer;
  readonly active: number;
  readonly queued: number;
}

/** So many calls at once; a few wait; the rest is refused at once. */
export function bulkheadLayer(options: BulkheadOptions, parts: LayerParts): BulkheadLayer {
  const { dependency, tell } = parts;
  const { concurrency, queueMax } = options;
  const policy = createBulkhead(concurrency, queueMax);
  return {
    layer: (next) => async (context) => {
      try {
        return await policy.execute(() => next(context));
      } catch (error) {
        if (!(error instanceof BulkheadRejectedError)) throw error;
        tell({ kind: "refused", dependency, by: "bulkhead" });
        throw new CallRefusedError("BULKHEAD_FULL", {
          dependency,
          retryAfterMs: 1_000,
          cause: error,
        });
      }
    },
    get active() {
      return concurrency - policy.executionSlots;
    },
    get queued() {
      return queueMax - policy.queueSlots;
    },
  };
}
