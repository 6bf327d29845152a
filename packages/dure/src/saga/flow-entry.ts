import type { Logger } from "../core/logger.ts";
import type { FlowDefinition } from "./flow-definition.ts";
import { standingOf } from "./flow-standing.ts";
import type { FlowStanding } from "./flow-standing.ts";
import type { FlowEntry, FlowEvent, HeardFact, OpenedFlow } from "./flow-store.ts";
import { isAtRest } from "./saga-event.ts";
import type { SagaStatus } from "./saga-event.ts";

/** An event that was heard just now. */
export interface HeardMessage {
  readonly fact: HeardFact;
  readonly data: unknown;
  readonly traceparent: string | undefined;
}

/** What a flow comes to with what was heard: its next entry, or facts that wait for its start. */
export type FlowNext =
  | { readonly kind: "entry"; readonly entry: FlowEntry }
  | { readonly kind: "early"; readonly facts: readonly HeardFact[] };

/** What becomes of a flow that is held. What was heard before changes nothing. Without a plan it has not started, or is none. */
export function nextOf(
  opened: OpenedFlow,
  messages: readonly HeardMessage[],
  plan: FlowDefinition | undefined,
  logger: Logger,
): FlowNext {
  const { instance } = opened;
  const before = heardIn(opened.events);
  const fresh = new Map<string, HeardFact>();
  for (const { fact } of messages) {
    if (!before.has(fact.step) && !fresh.has(fact.step)) fresh.set(fact.step, fact);
  }
  if (plan === undefined) {
    return { kind: "early", facts: instance === undefined ? [...fresh.values()] : [] };
  }
  const isNew = instance === undefined;
  const given = isNew ? [...before.values(), ...fresh.values()] : [...fresh.values()];
  const heard = given.filter(({ step }) => plan.events.has(step));
  if (heard.length === 0) return { kind: "early", facts: [] };
  const all = [...(isNew ? [] : before.values()), ...heard];
  const standing = standingOf(plan, new Map(all.map(({ step, code }) => [step, code])));
  if (instance !== undefined && isAtRest(instance.status)) {
    return { kind: "entry", entry: afterEnd(opened, { plan, heard, standing }, logger) };
  }
  const { status, waits } = standing;
  const events = [...heard, ...movesOf(instance?.status ?? "RUNNING", standing)];
  return {
    kind: "entry",
    entry: {
      ...naming(opened, plan),
      events,
      status,
      isEnd: isAtRest(status),
      waits,
      ...(isNew && { start: startOf(plan, messages) }),
    },
  };
}

function heardIn(events: readonly FlowEvent[]): ReadonlyMap<string, HeardFact> {
  return new Map(
    events.flatMap((event) => (event.type === "heard" ? [[event.step, event] as const] : [])),
  );
}

function movesOf(before: SagaStatus, { status, reason }: FlowStanding): readonly FlowEvent[] {
  if (reason === undefined) return status === "COMPLETED" ? [{ type: "completed" }] : [];
  const turned: FlowEvent[] = before === "RUNNING" ? [{ type: "turned", reason }] : [];
  return status === "COMPENSATED" ? [...turned, { type: "compensated", reason }] : turned;
}

/** The end stands, and is said once more, so that the last entry says it. */
function afterEnd(
  opened: OpenedFlow,
  {
    plan,
    heard,
    standing,
  }: { plan: FlowDefinition; heard: readonly HeardFact[]; standing: FlowStanding },
  logger: Logger,
): FlowEntry {
  const status = opened.instance?.status ?? standing.status;
  const ends = opened.events.filter(({ type }) => type === "completed" || type === "compensated");
  // What an operator has ended was not at its end: what still comes contradicts only if it ends otherwise.
  const isByHand = opened.events.some(({ type }) => type === "commanded");
  if (standing.status !== status && (!isByHand || isAtRest(standing.status))) {
    logger.error("an event contradicts the end of its flow; the end stands: dure sagas show", {
      sagaId: opened.sagaId,
      definition: plan.name,
      status,
      heard: heard.map(({ step }) => step).join(","),
    });
  }
  return {
    ...naming(opened, plan),
    events: [...heard, ...ends.slice(-1)],
    status,
    isEnd: true,
    waits: [],
  };
}

function naming(
  { sagaId }: OpenedFlow,
  { name, version }: FlowDefinition,
): Pick<FlowEntry, "sagaId" | "definition" | "version"> {
  return { sagaId, definition: name, version };
}

function startOf(plan: FlowDefinition, messages: readonly HeardMessage[]): FlowEntry["start"] {
  const found = messages.find(({ fact }) => fact.step === plan.start);
  if (found === undefined) return undefined;
  const { fact, data, traceparent } = found;
  return {
    businessKey: plan.businessKey?.(data as never),
    traceparent,
    // Where to find it: what it carries may be personal, and stands in the outbox and the log already.
    input: { event: fact.step, messageId: fact.messageId, at: fact.at },
  };
}
