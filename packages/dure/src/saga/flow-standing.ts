import type { FlowDefinition, FlowStepPlan } from "./flow-definition.ts";
import type { SagaReason, SagaStatus } from "./saga-event.ts";

/** What was heard of a flow: the types of its events, each with the reason that it gave. */
export type FlowFacts = ReadonlyMap<string, string | undefined>;

/** An answer that is open. */
export interface FlowWait {
  /** The step's name; with `/undone` behind it where its undoing is waited for. */
  readonly id: string;
  readonly service: string;
  readonly ms: number;
}

/** Where a flow stands. Nothing is waited for at the end, and only there. */
export interface FlowStanding {
  readonly status: Extract<SagaStatus, "RUNNING" | "COMPENSATING" | "COMPLETED" | "COMPENSATED">;
  readonly waits: readonly FlowWait[];
  /** Of a flow that has turned back. */
  readonly reason: SagaReason | undefined;
}

/**
 * Where a flow stands by what was heard of it. The facts decide, not the order in which they came: an answer
 * says that what it comes after has happened, heard or not. No answer that is still to come moves a flow
 * that is at its end.
 */
export function standingOf(flow: FlowDefinition, facts: FlowFacts): FlowStanding {
  const happened = happenedBy(flow, facts);
  if (flow.completedBy.every((type) => happened.has(type))) {
    return { status: "COMPLETED", waits: [], reason: undefined };
  }
  // Whoever was asked may still do its part: as long as that is open, nobody knows what is to be undone.
  const open = flow.steps.filter(
    (step) =>
      step.after.every((type) => happened.has(type)) &&
      ![step.done, ...step.refused].some((type) => happened.has(type)),
  );
  const waits: FlowWait[] = open.map(({ name, service, withinMs }) => ({
    id: name,
    service,
    ms: withinMs,
  }));
  const reason = reasonOf(flow, facts);
  if (reason === undefined) return { status: "RUNNING", waits, reason };
  for (const { name, service, done, undone, undoneWithinMs } of flow.steps) {
    if (undone === undefined || !happened.has(done) || facts.has(undone)) continue;
    waits.push({ id: `${name}/undone`, service, ms: undoneWithinMs });
  }
  return { status: waits.length === 0 ? "COMPENSATED" : "COMPENSATING", waits, reason };
}

/** What was heard, and what must have been before it. Steps stand behind what they come after: once back is enough. */
function happenedBy(flow: FlowDefinition, facts: FlowFacts): ReadonlySet<string> {
  const happened = new Set(facts.keys());
  for (const step of flow.steps.toReversed()) {
    if (step.undone !== undefined && happened.has(step.undone)) happened.add(step.done);
    if ([step.done, ...step.refused].some((type) => happened.has(type))) {
      for (const type of step.after) happened.add(type);
    }
  }
  return happened;
}

/** The causes first, for an undoing only repeats the word; of several, the first declared. */
function reasonOf(flow: FlowDefinition, facts: FlowFacts): SagaReason | undefined {
  const undone = (step: FlowStepPlan): readonly string[] =>
    step.undone === undefined ? [] : [step.undone];
  const turning: readonly (readonly [string, string | undefined])[] = [
    ...flow.steps.flatMap((step) => step.refused.map((type) => [type, step.name] as const)),
    ...flow.turnedBy.map((type) => [type, undefined] as const),
    ...flow.steps.flatMap((step) => undone(step).map((type) => [type, step.name] as const)),
  ];
  const found = turning.find(([type]) => facts.has(type));
  if (found === undefined) return undefined;
  const [type, step] = found;
  const reason = { code: facts.get(type) ?? type, error: `${type} was heard` };
  return step === undefined ? reason : { ...reason, step };
}
