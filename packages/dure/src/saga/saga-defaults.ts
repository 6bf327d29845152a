import type { RetryPolicy } from "../core/backoff.ts";
import type { StepAction, StepContext } from "./saga-definition.ts";

/** A way of carrying out a step. */
export type ActionKind = StepAction<StepContext>["kind"];

/** What a definition has where it says nothing. */
export interface SagaDefaults {
  readonly retry: {
    readonly step: RetryPolicy;
    readonly pivot: RetryPolicy;
    readonly afterPivot: RetryPolicy;
    readonly compensation: RetryPolicy;
  };
  readonly timeoutMs: Readonly<Record<ActionKind, number>>;
}

/** What a definition has where it says nothing, in milliseconds. */
export const sagaDefaults: SagaDefaults = Object.freeze({
  retry: Object.freeze({
    // Someone waits, and everything can still be undone: about three seconds, then it is.
    step: Object.freeze({ attempts: 5, baseMs: 100, maxMs: 10_000 }),
    // What it did is not known until it answers, and neither way is open before that.
    pivot: Object.freeze({ attempts: Number.POSITIVE_INFINITY, baseMs: 100, maxMs: 30_000 }),
    // There is no way back: it outlives a deployment or a restart of the callee (some five minutes on the average).
    afterPivot: Object.freeze({ attempts: 20, baseMs: 100, maxMs: 60_000 }),
    // Nobody waits, and giving up costs an operator's time: slower, and twice as often as a step.
    compensation: Object.freeze({ attempts: 10, baseMs: 200, maxMs: 60_000 }),
  }),
  timeoutMs: Object.freeze({
    // As long as a caller of HTTP usually has, and longer than a slow card network.
    run: 10_000,
    // As long as a transaction may be: the same as the lock's.
    local: 30_000,
    statement: 30_000,
    // By outbox, relay, inbox and back; a callee that is restarted meanwhile still answers in time.
    message: 30_000,
  }),
});
