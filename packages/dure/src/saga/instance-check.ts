import { describeError } from "../core/errors.ts";
import { decide, isPastPivot } from "./saga-decision.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { PlanNode } from "./saga-definition.ts";
import type { SagaEvent } from "./saga-event.ts";
import { eventsOf } from "./saga-replay.ts";
import { deepFreeze } from "./attempt-execution.ts";
import { apply, initialState } from "./saga-state.ts";
import type { SagaState, StepState } from "./saga-state.ts";
import type { StoredSaga } from "./saga-store.ts";

/** Why a saga cannot go on under a definition. */
export interface InstanceProblem {
  readonly code:
    | "DEFINITION_UNKNOWN"
    | "STEP_MISSING"
    | "STEP_KIND_CHANGED"
    | "BRANCH_MISSING"
    | "CASE_MISSING"
    | "COMPENSATION_MISSING"
    | "STEP_NOT_BEGUN"
    | "PIVOT_MOVED"
    | "DECIDES_DIFFERENTLY"
    | "DEFINITION_FAILS";
  /** One line, the same for all sagas that have the same problem. */
  readonly message: string;
}

/**
 * Whether a saga that has not ended can go on under a definition: its journal is replayed, and what it holds
 * must be what the definition decides. Runs nothing but the definition's own `choose` and `output`.
 * No problems: it can.
 */
export function checkInstance(
  plan: SagaPlan | undefined,
  saga: Pick<StoredSaga, "definition" | "version" | "input" | "journal">,
): readonly InstanceProblem[] {
  if (plan === undefined) {
    const message = `version ${saga.version} of "${saga.definition}" is not there`;
    return [{ code: "DEFINITION_UNKNOWN", message }];
  }
  const missing = missingNames(plan, eventsOf(saga));
  // What names nothing cannot be replayed, and one reason is enough.
  if (missing.length > 0) return missing;
  const state = initialState(deepFreeze(saga.input));
  try {
    const different = replayDeciding(plan, state, eventsOf(saga));
    const shape = shapeProblems(plan, state, eventsOf(saga));
    // Whoever sees that a step was put in between need not read what follows from it.
    if (shape.length > 0) return shape;
    if (different !== undefined) return [different];
    decide(plan, state, 0);
    return [];
  } catch (error) {
    return [{ code: "DEFINITION_FAILS", message: describeError(error) }];
  }
}

function missingNames(
  { steps, definition }: SagaPlan,
  events: readonly SagaEvent[],
): readonly InstanceProblem[] {
  const branches = branchesOf(definition.nodes);
  const problems = new Map<string, InstanceProblem>();
  const add = (code: InstanceProblem["code"], message: string): void => {
    problems.set(message, { code, message });
  };
  for (const event of events) {
    if (event.type === "begun" && !steps.has(event.step)) {
      add("STEP_MISSING", `step "${event.step}" has begun, and is not there`);
    }
    if (event.type === "chosen") {
      const branch = branches.get(event.branch);
      if (branch === undefined) {
        add("BRANCH_MISSING", `branch "${event.branch}" is chosen, and is not there`);
      } else if (!Object.hasOwn(branch.cases, event.case)) {
        add("CASE_MISSING", `case "${event.case}" of branch "${event.branch}" is not there`);
      }
    }
  }
  return [...problems.values()];
}

type Branch = Extract<PlanNode, { kind: "branch" }>;

function branchesOf(nodes: readonly PlanNode[]): ReadonlyMap<string, Branch> {
  const branches = new Map<string, Branch>();
  for (const node of nodes) {
    if (node.kind !== "branch") continue;
    branches.set(node.name, node);
    for (const path of Object.values(node.cases)) {
      for (const [name, branch] of branchesOf(path)) branches.set(name, branch);
    }
  }
  return branches;
}

/** Replays the journal into `state`, and returns where it holds what the definition would not have decided. */
function replayDeciding(
  plan: SagaPlan,
  state: SagaState,
  events: readonly SagaEvent[],
): InstanceProblem | undefined {
  let expected: readonly SagaEvent[] = [];
  let problem: InstanceProblem | undefined;
  for (const event of events) {
    if (problem === undefined && isDecided(event, state)) {
      if (!expected.some((other) => isSame(event, other))) expected = decide(plan, state, 0);
      if (expected.some((other) => isSame(event, other))) {
        expected = expected.filter((other) => !isSame(event, other));
      } else {
        problem = {
          code: "DECIDES_DIFFERENTLY",
          message: `the journal says "${nameOf(event)}" where the definition decides ${expected.map((other) => `"${nameOf(other)}"`).join(" and ") || "nothing"}`,
        };
      }
    }
    apply(state, event, plan.steps);
  }
  return problem;
}

/** What follows from the definition, and not from what happened outside: later attempts follow from the clock. */
function isDecided(event: SagaEvent, { steps }: SagaState): boolean {
  switch (event.type) {
    case "begun":
      return !steps.has(event.step);
    case "undo-begun": {
      const phase = steps.get(event.step)?.phase;
      return phase !== "undoing" && phase !== "undo-waiting";
    }
    case "chosen":
    case "turned":
    case "completed":
    case "compensated":
    case "parked":
      return true;
    default:
      return false;
  }
}

function isSame(one: SagaEvent, other: SagaEvent): boolean {
  return nameOf(one) === nameOf(other);
}

function nameOf(event: SagaEvent): string {
  switch (event.type) {
    case "begun":
    case "undo-begun":
      return `${event.type} ${event.step}`;
    case "chosen":
      return `chosen ${event.branch}: ${event.case}`;
    case "parked":
      return `parked ${event.status}`;
    default:
      return event.type;
  }
}

function shapeProblems(
  plan: SagaPlan,
  state: SagaState,
  events: readonly SagaEvent[],
): readonly InstanceProblem[] {
  const problems: InstanceProblem[] = [];
  const isBack = state.status === "COMPENSATING" || state.status === "COMPENSATION_FAILED";
  if (isBack) {
    if (isPastPivot(state)) {
      problems.push({
        code: "PIVOT_MOVED",
        message: "it is being undone, and the step that is the pivot now is done",
      });
    }
  } else problems.push(...orderProblems(plan.definition.nodes, state));
  const owed = new Set(events.findLast((event) => event.type === "parked")?.owed);
  for (const step of state.steps.values()) {
    const { name, compensation } = step.plan;
    if (compensation === undefined && isBack && (owed.has(name) || isUndoing(step))) {
      const message = `step "${name}" is to be undone, and has no compensation`;
      problems.push({ code: "COMPENSATION_MISSING", message });
    }
    problems.push(...kindProblems(step, events));
  }
  return problems;
}

function isUndoing({ phase }: StepState): boolean {
  return phase === "undoing" || phase === "undo-waiting" || phase === "undo-failed";
}

/** A step that has begun after one that has not: it would be begun after what it comes before. */
function orderProblems(nodes: readonly PlanNode[], state: SagaState): readonly InstanceProblem[] {
  let unbegun: string | undefined;
  const problems: InstanceProblem[] = [];
  const walk = (path: readonly PlanNode[], isChosen: boolean): void => {
    for (const node of path) {
      if (node.kind === "branch") {
        const chosen = state.choices.get(node.name);
        const isOpen = isChosen && chosen === undefined;
        if (isOpen) unbegun ??= `branch "${node.name}" is not chosen`;
        for (const [name, nodesOfCase] of Object.entries(node.cases)) {
          walk(nodesOfCase, isChosen && (isOpen || name === chosen));
        }
        continue;
      }
      const names = node.kind === "step" ? [node.step.name] : node.steps.map(({ name }) => name);
      const begun = names.filter((name) => state.steps.has(name));
      const [first] = begun;
      if (first !== undefined && (unbegun !== undefined || !isChosen)) {
        const why = isChosen ? unbegun : "its case is not chosen";
        problems.push({
          code: "STEP_NOT_BEGUN",
          message: `step "${first}" has begun, though ${why}`,
        });
      }
      if (first === undefined && isChosen) unbegun ??= `step "${names[0]}" before it has not`;
    }
  };
  walk(nodes, true);
  return problems;
}

/** The journal says of each attempt under way whether it was a command by message: that one has a time. */
function kindProblems(step: StepState, events: readonly SagaEvent[]): readonly InstanceProblem[] {
  const { phase, plan } = step;
  const isBack = phase === "undoing";
  if (phase !== "running" && !isBack) return [];
  const begun = events.findLast(
    (event) => event.type === (isBack ? "undo-begun" : "begun") && event.step === plan.name,
  );
  const wasMessage = begun !== undefined && "until" in begun;
  const kind = isBack ? plan.compensation?.action.kind : plan.action.kind;
  if (kind === undefined || wasMessage === (kind === "message")) return [];
  const was = wasMessage ? "was sent by message" : "was not sent by message";
  return [
    {
      code: "STEP_KIND_CHANGED",
      message: `${isBack ? "the compensation of " : ""}step "${plan.name}" is under way and ${was}, and is "${kind}" now`,
    },
  ];
}
