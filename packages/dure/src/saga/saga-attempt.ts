import { backoffMs } from "../core/backoff.ts";
import type { RetryPolicy } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import type { StepAction, StepPlan } from "./saga-definition.ts";
import type { SagaEvent } from "./saga-event.ts";
import { isAtRest } from "./saga-event.ts";
import type { SagaState, StepState } from "./saga-state.ts";

/** What an attempt of a step, or of its compensation, came to. */
export type AttemptOutcome =
  | { readonly kind: "done"; readonly result?: unknown }
  /** It did not happen, and will not. */
  | { readonly kind: "refused"; readonly code: string; readonly error: string }
  | {
      readonly kind: "failed";
      readonly code: string;
      readonly error: string;
      /** It may have had its effect. */
      readonly isUnknown: boolean;
      /** Trying again cannot help. */
      readonly isFinal?: boolean;
      readonly retryAfterMs?: number | undefined;
    };

/** When it is, by the database's clock, and the dice for the wait before the next attempt. */
export interface Moment {
  readonly now: number;
  readonly random: Clock["random"];
}

/** The intent of an attempt. */
export function begun(plan: StepPlan, attempt: number, now: number): SagaEvent {
  return { type: "begun", step: plan.name, attempt, ...untilOf(plan.action, plan.timeoutMs, now) };
}

/** The intent of an attempt to undo. */
export function undoBegun(plan: StepPlan, attempt: number, now: number): SagaEvent {
  const { compensation } = plan;
  const until =
    compensation === undefined ? {} : untilOf(compensation.action, compensation.timeoutMs, now);
  return { type: "undo-begun", step: plan.name, attempt, ...until };
}

function untilOf(
  action: { readonly kind: StepAction<never>["kind"] },
  timeoutMs: number,
  now: number,
): { until?: number } {
  return action.kind === "message" ? { until: now + timeoutMs } : {};
}

/** What becomes of a step by what its attempt came to. */
export function settled(step: StepState, outcome: AttemptOutcome, moment: Moment): SagaEvent {
  const { plan } = step;
  const name = plan.name;
  if (outcome.kind === "done") {
    return outcome.result === undefined
      ? { type: "done", step: name }
      : { type: "done", step: name, result: outcome.result };
  }
  const { code, error } = outcome;
  if (outcome.kind === "refused") return { type: "refused", step: name, code, error };
  const retryAt = nextAttemptAt(plan.retry, step.attempts, outcome, moment);
  const { isUnknown } = outcome;
  return {
    type: "failed",
    step: name,
    code,
    error,
    isUnknown,
    ...(retryAt === undefined ? {} : { retryAt }),
  };
}

/** What becomes of a compensation by what its attempt came to: a refusal is a failure like any other. */
export function undoSettled(step: StepState, outcome: AttemptOutcome, moment: Moment): SagaEvent {
  const name = step.plan.name;
  if (outcome.kind === "done") return { type: "undone", step: name };
  const { code, error } = outcome;
  const failure = outcome.kind === "failed" ? outcome : { isFinal: true };
  const policy = step.plan.compensation?.retry;
  const retryAt =
    policy === undefined ? undefined : nextAttemptAt(policy, step.undoAttempts, failure, moment);
  return {
    type: "undo-failed",
    step: name,
    code,
    error,
    ...(retryAt === undefined ? {} : { retryAt }),
  };
}

function nextAttemptAt(
  policy: RetryPolicy,
  attempts: number,
  failure: { readonly isFinal?: boolean; readonly retryAfterMs?: number | undefined },
  moment: Moment,
): number | undefined {
  if (failure.isFinal === true || attempts >= policy.attempts) return undefined;
  const wait = backoffMs(Math.max(1, attempts), policy, moment);
  return Math.ceil(moment.now + Math.max(wait, failure.retryAfterMs ?? 0));
}

/** A waiting step whose time has come begins its next attempt; a command whose answer is overdue has failed. */
export function wakeUp(state: SagaState, moment: Moment): readonly SagaEvent[] {
  if (isAtRest(state.status)) return [];
  const overdue: AttemptOutcome = {
    kind: "failed",
    code: "TIMED_OUT",
    error: "no answer came in time",
    isUnknown: true,
  };
  const events: SagaEvent[] = [];
  for (const step of state.steps.values()) {
    if (step.retryAt === undefined || step.retryAt > moment.now) continue;
    const { phase, plan, attempts, undoAttempts } = step;
    if (phase === "waiting") events.push(begun(plan, attempts + 1, moment.now));
    if (phase === "undo-waiting") events.push(undoBegun(plan, undoAttempts + 1, moment.now));
    if (phase === "running") events.push(settled(step, overdue, moment));
    if (phase === "undoing") events.push(undoSettled(step, overdue, moment));
  }
  return events;
}

/**
 * What a new owner makes of what was under way when the last one died: the attempt is lost, its outcome is
 * unknown, and it counts. Commands by message are not lost: their answers still come.
 */
export function recover(state: SagaState, moment: Moment): readonly SagaEvent[] {
  const lost = { code: "ATTEMPT_LOST", error: "the process that made the attempt is gone" };
  const events: SagaEvent[] = [];
  for (const step of state.steps.values()) {
    const { plan } = step;
    if (step.phase === "running" && plan.action.kind !== "message") {
      if (step.attempts < plan.retry.attempts) {
        events.push(begun(plan, step.attempts + 1, moment.now));
      } else {
        const isUnknown = plan.action.kind === "run";
        events.push(settled(step, { kind: "failed", ...lost, isUnknown }, moment));
      }
    }
    const { compensation } = plan;
    if (step.phase === "undoing" && compensation && compensation.action.kind !== "message") {
      events.push(
        step.undoAttempts < compensation.retry.attempts
          ? undoBegun(plan, step.undoAttempts + 1, moment.now)
          : undoSettled(step, { kind: "failed", ...lost, isUnknown: true }, moment),
      );
    }
  }
  return events;
}

/** When something is due that only waits for its time; undefined: nothing is. */
export function nextDueAt(state: SagaState): number | undefined {
  let next: number | undefined;
  for (const { retryAt } of state.steps.values()) {
    if (retryAt !== undefined && (next === undefined || retryAt < next)) next = retryAt;
  }
  return next;
}
