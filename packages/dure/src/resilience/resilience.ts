import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { CallAbandoned, classifyFailure, TransientFailure } from "./call-failure.ts";
import type { FailureVerdict } from "./call-failure.ts";
import { checkDependency } from "./dependency-options.ts";
import type { DependencyOptions } from "./dependency-options.ts";
import {
  breakerLayer,
  bulkheadLayer,
  layerOrder,
  retryLayer,
  timeoutLayer,
  within,
} from "./layers.ts";
import type { Ask, BulkheadLayer, Layer, LayerName, LayerParts, RetryLayer } from "./layers.ts";
import type { DependencySnapshot, ResilienceEvent } from "./resilience-events.ts";

/** What {@link createResilience} takes. */
export interface ResilienceOptions<Name extends string> {
  /** By name, each with a preset or numbers of its own. */
  readonly dependencies: Readonly<Record<Name, DependencyOptions>>;
  /** What an error says about the dependency. @defaultValue `classifyFailure` */
  readonly classify?: (error: unknown) => FailureVerdict;
  /** Told at once; what it throws is thrown by the call. For metrics and logs. */
  readonly onEvent?: (event: ResilienceEvent) => void;
  readonly clock?: Pick<Clock, "random" | "monotonic">;
}

/** What the work of a call gets. */
export interface CallContext {
  /** Aborts when the attempt's time is over or the caller's signal aborts. Pass it on. */
  readonly signal: AbortSignal;
  /** From 1. */
  readonly attempt: number;
  /** As given, for the header of each attempt. */
  readonly idempotencyKey: string | undefined;
}

/** What {@link Resilience.call} takes beside the work. */
export interface CallOptions {
  /** The dependency does it once for this key: the call may be repeated. */
  readonly idempotencyKey?: string;
  /** Repeating it changes nothing (a read, a PUT): it may be repeated. */
  readonly isIdempotent?: boolean;
  /** Ends the call: no attempt begins any more. */
  readonly signal?: AbortSignal;
}

/**
 * Calls to dependencies that fail now and then: each with a timeout per attempt, retries, a breaker around them and a
 * bulkhead around that. All in this process: nothing here survives it, and other processes have breakers of their own. What must
 * be done in the end belongs into a saga step or the outbox; such a call is not repeated here as well (`retry: false`).
 */
export interface Resilience<Name extends string> {
  /**
   * Does the work, and again if it may be repeated: with an idempotency key, or idempotent by itself. Without
   * either it is tried once.
   *
   * @throws what the work threw last, when it is not tried any more
   * @throws CALL_TIMED_OUT when the last attempt took too long: whether it had its effect is not known
   * @throws BREAKER_OPEN, BULKHEAD_FULL ({@link CallRefusedError}): nothing was begun
   * @throws the reason of `options.signal` when that aborted, at once
   */
  call<Result>(
    dependency: Name,
    work: (context: CallContext) => Promise<Result>,
    options?: CallOptions,
  ): Promise<Result>;
  /** As {@link Resilience.call}, with something else instead of a failure; a permanent error and the caller's abort go through. */
  callWithFallback<Result>(
    dependency: Name,
    work: (context: CallContext) => Promise<Result>,
    fallback: (error: unknown) => Result | Promise<Result>,
    options?: CallOptions,
  ): Promise<Result>;
  /** How each dependency stands. Costs nothing. */
  snapshot(): Readonly<Record<Name, DependencySnapshot>>;
}

/**
 * Puts the layers around calls to the dependencies.
 * @throws CONFIGURATION_INVALID naming every mistake at once
 */
export function createResilience<Name extends string>(
  options: ResilienceOptions<Name>,
): Resilience<Name> {
  return createResilienceInOrder(options, layerOrder);
}

/** As {@link createResilience}, with the layers in another order: for the tests that show what is wrong with it. */
export function createResilienceInOrder<Name extends string>(
  options: ResilienceOptions<Name>,
  order: readonly LayerName[],
): Resilience<Name> {
  const { classify = classifyFailure } = options;
  const known = new Map<string, Dependency>();
  for (const [name, given] of Object.entries<DependencyOptions>(options.dependencies)) {
    checkDependency(name, given);
    known.set(name, createDependency(name, given, { ...options, order }));
  }
  const find = (name: string): Dependency => {
    const dependency = known.get(name);
    if (dependency !== undefined) return dependency;
    throw new DureError("CONFIGURATION_INVALID", `there is no dependency "${name}"`);
  };
  return {
    async call(name, work, callOptions = {}) {
      const dependency = find(name);
      return ask(dependency, { work, classify, ...callOptions });
    },
    async callWithFallback(name, work, fallback, callOptions = {}) {
      const dependency = find(name);
      try {
        return await ask(dependency, { work, classify, ...callOptions });
      } catch (error) {
        const isOurs = callOptions.signal?.aborted !== true;
        if (!isOurs || dependency.permanent.has(error as object)) throw error;
        dependency.counts.fallbacks += 1;
        return fallback(error);
      }
    },
    snapshot() {
      const all = [...known].map(([name, dependency]) => [name, snapshotOf(dependency)]);
      // The keys are those of the options.
      return Object.fromEntries(all) as Record<Name, DependencySnapshot>;
    },
  };
}

type Counts = {
  -readonly [
    K in Exclude<keyof DependencySnapshot, "breaker" | "active" | "queued" | "retryBudgetLeft">
  ]: number;
};

interface Dependency {
  readonly layers: readonly Layer[];
  readonly counts: Counts;
  readonly breaker: { readonly state: DependencySnapshot["breaker"] };
  readonly retry: Pick<RetryLayer, "budgetLeft">;
  readonly bulkhead: Pick<BulkheadLayer, "active" | "queued">;
  /** Errors that were the dependency's answer. */
  readonly permanent: WeakSet<object>;
}

type Asked<Result> = CallOptions & {
  readonly work: (context: CallContext) => Promise<Result>;
  readonly classify: (error: unknown) => FailureVerdict;
};

type Answer<Result> =
  | { readonly kind: "answered"; readonly result: Result }
  | { readonly kind: "refused"; readonly error: unknown };

const neverAborted: AbortSignal = new AbortController().signal;
const nothing: Layer = (next) => next;

function createDependency(
  name: string,
  given: DependencyOptions,
  options: Pick<ResilienceOptions<string>, "onEvent" | "clock"> & {
    readonly order: readonly LayerName[];
  },
): Dependency {
  const counts: Counts = {
    calls: 0,
    failed: 0,
    retries: 0,
    retriesDenied: 0,
    timeouts: 0,
    refusedByBreaker: 0,
    refusedByBulkhead: 0,
    fallbacks: 0,
    breakerOpenings: 0,
  };
  const parts: LayerParts = {
    dependency: name,
    clock: options.clock ?? systemClock,
    tell(event) {
      count(counts, event);
      options.onEvent?.(event);
    },
  };
  const breaker = breakerLayer(given.breaker, parts);
  const retry =
    given.retry === false ? { layer: nothing, budgetLeft: 0 } : retryLayer(given.retry, parts);
  const bulkhead =
    given.bulkhead === false
      ? { layer: nothing, active: 0, queued: 0 }
      : bulkheadLayer(given.bulkhead, parts);
  const layers: Readonly<Record<LayerName, Layer>> = {
    bulkhead: bulkhead.layer,
    breaker: breaker.layer,
    retry: retry.layer,
    timeout: timeoutLayer(given.timeoutMs, parts),
  };
  return {
    layers: options.order.map((each) => layers[each]),
    counts,
    breaker,
    retry,
    bulkhead,
    permanent: new WeakSet(),
  };
}

function count(counts: Counts, event: ResilienceEvent): void {
  if (event.kind === "retried") counts.retries += 1;
  if (event.kind === "retry-denied") counts.retriesDenied += 1;
  if (event.kind === "timed-out") counts.timeouts += 1;
  if (event.kind === "breaker-opened") counts.breakerOpenings += 1;
  if (event.kind === "refused") {
    counts[event.by === "breaker" ? "refusedByBreaker" : "refusedByBulkhead"] += 1;
  }
}

async function ask<Result>(dependency: Dependency, asked: Asked<Result>): Promise<Result> {
  const { signal = neverAborted, idempotencyKey, isIdempotent = false } = asked;
  const { counts, layers, permanent } = dependency;
  signal.throwIfAborted();
  counts.calls += 1;
  const canRepeat = isIdempotent || idempotencyKey !== undefined;
  const abandoned = Promise.withResolvers<never>();
  abandoned.promise.catch(() => undefined);
  const onAbort = (): void => abandoned.reject(new CallAbandoned());
  signal.addEventListener("abort", onAbort, { once: true });
  const asking = within(layers, attemptOf(asked, signal, abandoned.promise));
  try {
    // Also between two attempts, and in a queue: nobody waits on when the caller does not.
    const answering = asking({ attempt: 1, signal: neverAborted, canRepeat });
    const answer = await Promise.race([answering, abandoned.promise]);
    if (answer.kind === "answered") return answer.result;
    if (typeof answer.error === "object" && answer.error !== null) permanent.add(answer.error);
    throw answer.error;
  } catch (error) {
    if (error instanceof CallAbandoned) throw signal.reason;
    if (!permanent.has(error as object)) counts.failed += 1;
    throw error instanceof TransientFailure ? error.error : error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** One attempt, whose outcome tells the layers what they need to know and no more. */
function attemptOf<Result>(
  { work, classify, idempotencyKey }: Asked<Result>,
  callerSignal: AbortSignal,
  abandoned: Promise<never>,
): Ask<Answer<Result>> {
  return async ({ attempt, signal }) => {
    if (callerSignal.aborted) throw new CallAbandoned();
    try {
      const context = { signal: AbortSignal.any([callerSignal, signal]), attempt, idempotencyKey };
      const result = await Promise.race([work(context), abandoned]);
      return { kind: "answered", result };
    } catch (error) {
      if (callerSignal.aborted) throw new CallAbandoned();
      const verdict = classify(error);
      if (verdict.kind === "permanent") return { kind: "refused", error };
      const { kind, retryAfterMs = 0 } = verdict;
      throw new TransientFailure(error, { retryAfterMs, isBusy: kind === "busy" });
    }
  };
}

function snapshotOf({ counts, breaker, retry, bulkhead }: Dependency): DependencySnapshot {
  return {
    breaker: breaker.state,
    active: bulkhead.active,
    queued: bulkhead.queued,
    retryBudgetLeft: retry.budgetLeft,
    ...counts,
  };
}
