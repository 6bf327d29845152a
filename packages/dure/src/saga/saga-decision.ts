import { assert, describeError } from "../core/errors.ts";
import type { AnySagaDefinition, PlanNode, StepPlan } from "./saga-definition.ts";
import type { ParkedStatus, SagaEvent, SagaReason } from "./saga-event.ts";
import { asStored } from "./attempt-execution.ts";
import { apply, resultsOf } from "./saga-state.ts";
import { begun, undoBegun } from "./saga-attempt.ts";
import type { SagaState, StepPhase, StepState } from "./saga-state.ts";

/** What deciding needs to know of a definition. */
export interface SagaPlan {
  readonly definition: AnySagaDefinition;
  readonly steps: ReadonlyMap<string, StepPlan>;
}

/**
 * Brings the state as far as it goes without anything from outside, and returns the events that did it: the
 * intents of the steps that come next, a branch's choice, the turn to compensation, the end. What is under
 * way is not in the way of anything but what follows it.
 */
export function proceed(plan: SagaPlan, state: SagaState, now: number): readonly SagaEvent[] {
  const events: SagaEvent[] = [];
  for (;;) {
    const next = decide(plan, state, now);
    if (next.length === 0) return events;
    for (const event of next) {
      apply(state, event, plan.steps);
      events.push(event);
    }
  }
}

/**
 * The events that follow from the state at once; none: something is under way, or nothing ever follows.
 * Changes nothing.
 */
export function decide(plan: SagaPlan, state: SagaState, now: number): readonly SagaEvent[] {
  if (state.status === "RUNNING") return decideForward(plan, state, now);
  if (state.status === "COMPENSATING") return decideBack(state, now);
  return [];
}

/** The pivot is done: from here on only forward. */
export function isPastPivot({ steps }: SagaState): boolean {
  for (const step of steps.values()) {
    if (step.plan.isPivot) return step.phase === "done" || step.phase === "skipped";
  }
  return false;
}

/** The pivot has begun, and is not known to have come to nothing: too late to cancel. */
export function isAtPivot({ steps }: SagaState): boolean {
  for (const step of steps.values()) if (step.plan.isPivot) return step.phase !== "refused";
  return false;
}

const activeForward: ReadonlySet<StepPhase> = new Set(["running", "waiting"]);
const activeBack: ReadonlySet<StepPhase> = new Set(["undoing", "undo-waiting"]);

function decideForward(plan: SagaPlan, state: SagaState, now: number): readonly SagaEvent[] {
  const isCanceled = state.cancel !== undefined && !isAtPivot(state);
  const active = [...state.steps.values()].filter((step) => activeForward.has(step.phase));
  if (active.length > 0) {
    // Nobody waits for the next attempt of what is to be undone.
    return isCanceled ? active.filter(({ phase }) => phase === "waiting").map(giveUp) : [];
  }
  if (isCanceled && state.cancel !== undefined) return [{ type: "turned", reason: state.cancel }];
  const next = walk(plan.definition.nodes, state, now);
  return next === "done" ? complete(plan, state) : next;
}

function giveUp(step: StepState): SagaEvent {
  const { code, error } = step.failure ?? { code: "CANCELED", error: "it was canceled" };
  return { type: "failed", step: step.plan.name, code, error, isUnknown: false };
}

/** What comes next in these nodes, all of whose begun steps have settled; or that they are done. */
function walk(
  nodes: readonly PlanNode[],
  state: SagaState,
  now: number,
): readonly SagaEvent[] | "done" {
  for (const node of nodes) {
    const next = walkNode(node, state, now);
    if (next !== "done") return next;
  }
  return "done";
}

function walkNode(node: PlanNode, state: SagaState, now: number): readonly SagaEvent[] | "done" {
  if (node.kind === "branch") {
    const chosen = state.choices.get(node.name);
    if (chosen === undefined) return choose(node, state);
    const nodesOfCase = Object.hasOwn(node.cases, chosen) ? node.cases[chosen] : undefined;
    assert(nodesOfCase !== undefined, `the journal names a case "${chosen}" that is not defined`);
    return walk(nodesOfCase, state, now);
  }
  const plans = node.kind === "step" ? [node.step] : node.steps;
  const steps = plans.map((plan) => state.steps.get(plan.name));
  const failed = steps.find((step) => step?.phase === "refused" || step?.phase === "given-up");
  if (failed !== undefined) return [failedForGood(failed, state)];
  const unbegun = plans.filter((plan) => !state.steps.has(plan.name));
  if (unbegun.length === 0) return "done";
  return unbegun.map((plan) => begun(plan, 1, now));
}

function failedForGood(step: StepState, state: SagaState): SagaEvent {
  const { code, error } = step.failure ?? { code: "UNKNOWN", error: "" };
  const reason: SagaReason = { code, error, step: step.plan.name };
  // A pivot that was given up without an answer may be done: neither forward nor back.
  const isStuck = step.plan.isPivot ? step.phase === "given-up" : isPastPivot(state);
  return isStuck ? parked("FAILED", reason, state) : { type: "turned", reason };
}

function choose(
  node: Extract<PlanNode, { kind: "branch" }>,
  state: SagaState,
): readonly SagaEvent[] {
  const outcome = attempt(() => node.choose({ input: state.input, results: resultsOf(state) }));
  if (outcome.kind === "value" && Object.hasOwn(node.cases, outcome.value)) {
    return [{ type: "chosen", branch: node.name, case: outcome.value }];
  }
  const error =
    outcome.kind === "value" ? `there is no case "${String(outcome.value)}"` : outcome.error;
  const reason: SagaReason = { code: "BRANCH_FAILED", error: `branch "${node.name}": ${error}` };
  return [isPastPivot(state) ? parked("FAILED", reason, state) : { type: "turned", reason }];
}

function complete({ definition }: SagaPlan, state: SagaState): readonly SagaEvent[] {
  const outcome = attempt(() =>
    asStored("the output", definition.output({ input: state.input, results: resultsOf(state) })),
  );
  if (outcome.kind === "value") {
    return [
      outcome.value === undefined
        ? { type: "completed" }
        : { type: "completed", output: outcome.value },
    ];
  }
  // Everything has happened; only its summary cannot be made.
  const reason: SagaReason = { code: "OUTPUT_FAILED", error: outcome.error };
  return [parked("FAILED", reason, state)];
}

function decideBack(state: SagaState, now: number): readonly SagaEvent[] {
  const steps = [...state.steps.values()];
  if (steps.some(({ phase }) => activeBack.has(phase) || activeForward.has(phase))) return [];
  const next = steps.findLast((step) => isToBeUndone(step) && !isBlocked(step, state));
  if (next !== undefined) {
    return [undoBegun(next.plan, 1, now)];
  }
  const owed = owedSteps(state)[0];
  if (owed === undefined) {
    return [{ type: "compensated", reason: state.reason ?? { code: "UNKNOWN", error: "" } }];
  }
  const { code, error } = owed.failure ?? { code: "UNKNOWN", error: "" };
  const reason = { code, error, step: owed.plan.name };
  return [parked("COMPENSATION_FAILED", reason, state)];
}

/** What was promised and is not undone, the last begun first: its compensation failed, or waits for one that did. */
export function owedSteps(state: SagaState): readonly StepState[] {
  return [...state.steps.values()]
    .filter((step) => step.phase === "undo-failed" || isToBeUndone(step))
    .toReversed();
}

/** It happened or may have happened, and it can be undone. */
function isToBeUndone({ plan, phase, isDoubtful }: StepState): boolean {
  if (plan.compensation === undefined) return false;
  return phase === "done" || ((phase === "given-up" || phase === "refused") && isDoubtful);
}

function isBlocked({ plan }: StepState, state: SagaState): boolean {
  return (plan.compensation?.needs ?? []).some((name) => {
    const needed = state.steps.get(name);
    return needed !== undefined && (needed.phase === "undo-failed" || isToBeUndone(needed));
  });
}

function parked(status: ParkedStatus, reason: SagaReason, state: SagaState): SagaEvent {
  const owed = owedSteps(state).map(({ plan }) => plan.name);
  return owed.length === 0
    ? { type: "parked", status, reason }
    : { type: "parked", status, reason, owed };
}

type Outcome<Value> =
  | { readonly kind: "value"; readonly value: Value }
  | { readonly kind: "error"; readonly error: string };

/** The user's own code; what it throws is an outcome like any other. */
function attempt<Value>(work: () => Value): Outcome<Value> {
  try {
    return { kind: "value", value: work() };
  } catch (error) {
    return { kind: "error", error: describeError(error) };
  }
}
