import { DureError, PermanentError, RetryableError } from "../core/errors.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import type { Logger } from "../core/logger.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { ReceivedMessage } from "../inbox/inbox.ts";
import type { FlowDefinition } from "./flow-definition.ts";
import { nextOf } from "./flow-entry.ts";
import type { HeardMessage } from "./flow-entry.ts";
import type { FlowEntry, FlowName, FlowStore, HeardFact, OpenedFlow } from "./flow-store.ts";
import { sagaIdPattern } from "./sagas.ts";

/** How one event is followed: gathered while its transaction goes on, and written at the end of it. */
export interface FlowHandler {
  readonly definition: AnyEventDefinition;
  handle(message: ReceivedMessage, tx: TransactionHandle): void;
  finish(tx: TransactionHandle): Promise<void>;
}

/** What following flows needs. */
export interface TrackingParts {
  readonly flows: readonly FlowDefinition[];
  readonly store: FlowStore;
  readonly logger: Logger;
}

/** What was heard of one flow in one transaction. */
interface Gathered extends FlowName {
  readonly messages: HeardMessage[];
}

/**
 * Handlers that follow flows by their events. All that a transaction brings is written at its end: the flows
 * are then held in one order, so that two that bring the same flows in different orders wait for each other
 * and never deadlock.
 * @throws CONFIGURATION_INVALID when one version is given twice
 */
export function flowHandlers(parts: TrackingParts): readonly FlowHandler[] {
  const { flows, store } = parts;
  const versions = versionsOf(flows);
  const gathered = new WeakMap<TransactionHandle, Map<string, Gathered>>();
  const finish = async (tx: TransactionHandle): Promise<void> => {
    const brought = gathered.get(tx);
    if (brought === undefined) return;
    gathered.delete(tx);
    const entries: FlowEntry[] = [];
    const early: (FlowName & { readonly fact: HeardFact })[] = [];
    for (const opened of await store.open(tx, [...brought.values()])) {
      const messages = brought.get(nameKey(opened))?.messages ?? [];
      const known = versions.get(opened.definition) ?? [];
      const next = nextOf(opened, messages, planFor(opened, messages, known), parts.logger);
      if (next.kind === "entry") entries.push(next.entry);
      else for (const fact of next.facts) early.push({ ...nameOf(opened), fact });
    }
    if (entries.length + early.length > 0) await store.record(tx, entries, early);
  };
  return eventsOf(flows).map((definition) => {
    const readers = [...versions.values()].flatMap((known) => known.find(reads(definition)) ?? []);
    return {
      definition,
      finish,
      handle(message, tx) {
        const brought = gathered.get(tx) ?? new Map<string, Gathered>();
        gathered.set(tx, brought);
        for (const flow of readers) gather(brought, flow, message);
      },
    };
  });
}

/** Each name's versions, the newest first. */
function versionsOf(flows: readonly FlowDefinition[]): ReadonlyMap<string, FlowDefinition[]> {
  const versions = Map.groupBy(flows, ({ name }) => name);
  for (const [name, known] of versions) {
    known.sort((one, other) => other.version - one.version);
    if (new Set(known.map(({ version }) => version)).size === known.length) continue;
    throw new DureError(
      "CONFIGURATION_INVALID",
      `sagas: a version of flow "${name}" is given twice`,
    );
  }
  return versions;
}

function eventsOf(flows: readonly FlowDefinition[]): readonly AnyEventDefinition[] {
  const events = flows.flatMap((flow) => [...flow.events.values()]);
  return [...new Map(events.map((event) => [`${event.type}@${event.version}`, event])).values()];
}

function reads({ type, version }: AnyEventDefinition): (flow: FlowDefinition) => boolean {
  return (flow) => flow.events.get(type)?.version === version;
}

function gather(
  brought: Map<string, Gathered>,
  flow: FlowDefinition,
  message: ReceivedMessage,
): void {
  const { id, type, time, data, traceparent } = message;
  // The inbox has parsed the data with the very definition that the flow's functions are typed by.
  const sagaId: unknown = flow.sagaId(data as never);
  if (sagaId === undefined) return;
  if (typeof sagaId !== "string" || !sagaIdPattern.test(sagaId)) {
    throw new PermanentError(
      `message ${id} of type "${type}" gives flow "${flow.name}" an id that is none: 1 to 128 letters, digits, dots, dashes, colons and underscores`,
    );
  }
  const code = flow.reason?.(data as never);
  const fact: HeardFact = {
    type: "heard",
    step: type,
    messageId: id,
    at: time,
    ...(code !== undefined && { code }),
  };
  const name: FlowName = { definition: flow.name, sagaId };
  const heard = brought.get(nameKey(name)) ?? { ...name, messages: [] };
  heard.messages.push({ fact, data, traceparent });
  brought.set(nameKey(name), heard);
}

/** The version that the flow began under; of one that begins now, the newest that this begins. */
function planFor(
  { definition, sagaId, instance }: OpenedFlow,
  messages: readonly HeardMessage[],
  known: readonly FlowDefinition[],
): FlowDefinition | undefined {
  const starting = known.find((flow) => messages.some(({ fact }) => fact.step === flow.start));
  if (instance === undefined) return starting;
  if (instance.definition !== definition) {
    // Other services' events carry the ids of sagas that are none of this flow's; only its start must not.
    if (starting === undefined) return undefined;
    throw new PermanentError(
      `flow "${definition}" cannot begin as ${sagaId}: that is a saga of "${instance.definition}"`,
    );
  }
  const plan = known.find(({ version }) => version === instance.version);
  if (plan !== undefined) return plan;
  throw new RetryableError(
    `${sagaId} is followed by version ${instance.version} of flow "${definition}", which this process does not know`,
  );
}

function nameOf({ definition, sagaId }: FlowName): FlowName {
  return { definition, sagaId };
}

function nameKey({ definition, sagaId }: FlowName): string {
  return `${definition}\u001f${sagaId}`;
}
