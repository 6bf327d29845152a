import { assert } from "../core/errors.ts";
import type { AnySagaDefinition, PlanNode, StepPlan } from "./saga-definition.ts";
import type { SagaEvent, SagaReason, SagaStatus } from "./saga-event.ts";

/**
 * Where a step stands. Forward: `running` (an attempt has begun), `waiting` (for the next), `done`,
 * `refused` (did not happen, and will not), `given-up` (no more attempts), `skipped` (by an operator). Back:
 * `undoing`, `undo-waiting`, `undone`, `undo-failed`, `undo-skipped`.
 */
export type StepPhase =
  | "running"
  | "waiting"
  | "done"
  | "refused"
  | "given-up"
  | "skipped"
  | "undoing"
  | "undo-waiting"
  | "undone"
  | "undo-failed"
  | "undo-skipped";

/** What the journal says of one step. */
export interface StepState {
  readonly plan: StepPlan;
  phase: StepPhase;
  /** Forward attempts that have begun. */
  attempts: number;
  undoAttempts: number;
  /** An attempt may have had its effect without anyone having heard of it. */
  isDoubtful: boolean;
  result: unknown;
  /** When the next attempt is due, or the answer to this one overdue, by the database's clock. */
  retryAt: number | undefined;
  failure: { readonly code: string; readonly error: string } | undefined;
}

/** What the journal says of a saga. Made by {@link initialState}, changed by {@link apply} alone. */
export interface SagaState {
  readonly input: unknown;
  status: SagaStatus;
  /** In the order in which they were begun; parallel ones as they are declared. */
  readonly steps: Map<string, StepState>;
  readonly results: Record<string, unknown>;
  readonly choices: Map<string, string>;
  /** It is to be undone as soon as nothing is under way, if its pivot has not begun. */
  cancel: SagaReason | undefined;
  /** Why it is compensated or parked. */
  reason: SagaReason | undefined;
  output: unknown;
}

/** A saga of which nothing has happened yet. */
export function initialState(input: unknown): SagaState {
  return {
    input,
    status: "RUNNING",
    steps: new Map(),
    results: {},
    choices: new Map(),
    cancel: undefined,
    reason: undefined,
    output: undefined,
  };
}

/** The same state, to be changed without changing the first. */
export function copyState(state: SagaState): SagaState {
  const steps = new Map<string, StepState>();
  for (const [name, step] of state.steps) steps.set(name, { ...step });
  return { ...state, steps, results: { ...state.results }, choices: new Map(state.choices) };
}

/** The results as a definition's code gets them: its own, whatever it does to them. */
export function resultsOf(state: SagaState): Readonly<Record<string, unknown>> {
  return Object.freeze({ ...state.results });
}

/** The steps of a definition by name, those of all branches included. */
export function stepsOf(definition: AnySagaDefinition): ReadonlyMap<string, StepPlan> {
  const steps = new Map<string, StepPlan>();
  const walk = (nodes: readonly PlanNode[]): void => {
    for (const node of nodes) {
      if (node.kind === "step") steps.set(node.step.name, node.step);
      else if (node.kind === "parallel") {
        for (const step of node.steps) steps.set(step.name, step);
      } else for (const nodesOfCase of Object.values(node.cases)) walk(nodesOfCase);
    }
  };
  walk(definition.nodes);
  return steps;
}

/**
 * Changes the state by one event.
 * @throws ASSERTION_FAILED for an event that no journal of this definition can hold here
 */
export function apply(
  state: SagaState,
  event: SagaEvent,
  plans: ReadonlyMap<string, StepPlan>,
): void {
  switch (event.type) {
    case "begun":
      return begin(state, event, plans);
    case "done":
    case "refused":
    case "failed":
      return settle(state, event);
    case "undo-begun":
    case "undone":
    case "undo-failed":
      return settleUndo(state, event);
    case "chosen":
      state.choices.set(event.branch, event.case);
      return;
    case "turned":
      state.status = "COMPENSATING";
      state.reason = event.reason;
      return;
    case "deadline-passed":
      state.cancel ??= { code: "TIMED_OUT", error: "the saga's deadline has passed" };
      return;
    case "completed":
      state.status = "COMPLETED";
      state.output = event.output;
      return;
    case "compensated":
      state.status = "COMPENSATED";
      return;
    case "parked":
      state.status = event.status;
      // What it is compensated for stays the reason; what failed on the way is in the steps.
      if (event.status === "FAILED") state.reason = event.reason;
      return;
    case "commanded":
      return command(state, event);
    case "command-refused":
      return;
  }
}

function begin(
  state: SagaState,
  event: Extract<SagaEvent, { type: "begun" }>,
  plans: ReadonlyMap<string, StepPlan>,
): void {
  const known = state.steps.get(event.step);
  if (known === undefined) {
    const plan = plans.get(event.step);
    assert(plan !== undefined, `the journal names a step "${event.step}" that is not defined`);
    state.steps.set(event.step, {
      plan,
      phase: "running",
      attempts: event.attempt,
      undoAttempts: 0,
      isDoubtful: false,
      result: undefined,
      retryAt: event.until,
      failure: undefined,
    });
    return;
  }
  // The attempt before it died with its process; one in a transaction of the journal's database left nothing.
  if (known.phase === "running" && mayActElsewhere(known.plan)) known.isDoubtful = true;
  known.phase = "running";
  known.attempts = event.attempt;
  known.retryAt = event.until;
}

/** Whether an attempt can have had its effect without the journal saying so. */
export function mayActElsewhere(plan: StepPlan): boolean {
  return plan.action.kind === "run" || plan.action.kind === "message";
}

function settle(
  state: SagaState,
  event: Extract<SagaEvent, { type: "done" | "refused" | "failed" }>,
): void {
  const step = stepOf(state, event.step);
  if (event.type === "done") {
    step.phase = "done";
    step.result = event.result;
    state.results[event.step] = event.result;
    step.retryAt = undefined;
    step.failure = undefined;
    return;
  }
  step.failure = { code: event.code, error: event.error };
  if (event.type === "refused") {
    // An earlier attempt without an answer may still arrive there: what is doubtful stays so.
    step.phase = "refused";
    step.retryAt = undefined;
    return;
  }
  step.isDoubtful ||= event.isUnknown;
  step.phase = event.retryAt === undefined ? "given-up" : "waiting";
  step.retryAt = event.retryAt;
}

function settleUndo(
  state: SagaState,
  event: Extract<SagaEvent, { type: "undo-begun" | "undone" | "undo-failed" }>,
): void {
  const step = stepOf(state, event.step);
  step.retryAt = undefined;
  switch (event.type) {
    case "undo-begun":
      step.phase = "undoing";
      step.undoAttempts = event.attempt;
      step.retryAt = event.until;
      return;
    case "undone":
      step.phase = "undone";
      return;
    case "undo-failed":
      step.phase = event.retryAt === undefined ? "undo-failed" : "undo-waiting";
      step.retryAt = event.retryAt;
      step.failure = { code: event.code, error: event.error };
  }
}

function stepOf(state: SagaState, name: string): StepState {
  const step = state.steps.get(name);
  assert(step !== undefined, `the journal ends a step "${name}" that it did not begin`);
  return step;
}

function command(state: SagaState, event: Extract<SagaEvent, { type: "commanded" }>): void {
  switch (event.command) {
    case "cancel":
      state.cancel ??= { code: event.why, error: `canceled by ${event.actor}` };
      return;
    case "compensate":
      if (state.status === "RUNNING") {
        state.cancel ??= { code: "CANCELED", error: `compensated by ${event.actor}: ${event.why}` };
        return;
      }
      state.status = "COMPENSATING";
      return;
    case "retry":
      if (state.status !== "RUNNING" && state.status !== "COMPENSATING") return retry(state);
      for (const step of waitingSteps(state)) step.retryAt = event.at ?? 0;
      return;
    case "skip": {
      const step = stepOf(state, event.step ?? "");
      if (state.status === "FAILED") {
        step.phase = "skipped";
        step.result = event.result;
        state.results[step.plan.name] = event.result;
        state.status = "RUNNING";
        state.reason = undefined;
      } else {
        step.phase = "undo-skipped";
        state.status = "COMPENSATING";
      }
      return;
    }
    case "resolve":
      state.status = event.as ?? "COMPLETED";
  }
}

/** The steps that wait for their next attempt, or for the answer to a command. */
export function waitingSteps({ steps }: SagaState): readonly StepState[] {
  return [...steps.values()].filter(({ retryAt }) => retryAt !== undefined);
}

/** All attempts are given again to what failed for good. */
function retry(state: SagaState): void {
  for (const step of state.steps.values()) {
    if (state.status === "FAILED" && (step.phase === "refused" || step.phase === "given-up")) {
      step.phase = "waiting";
      step.attempts = 0;
      step.retryAt = 0;
    }
    if (state.status === "COMPENSATION_FAILED" && step.phase === "undo-failed") {
      step.phase = "undo-waiting";
      step.undoAttempts = 0;
      step.retryAt = 0;
    }
  }
  state.status = state.status === "FAILED" ? "RUNNING" : "COMPENSATING";
  if (state.status === "RUNNING") state.reason = undefined;
}
