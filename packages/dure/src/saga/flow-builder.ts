import { DureError } from "../core/errors.ts";
import type { AnyEventDefinition } from "../core/event.ts";
import { flowProblems } from "./flow-checks.ts";
import type { FlowDefinition, FlowFact, FlowStepPlan } from "./flow-definition.ts";

/** What {@link flow} takes beside the name. */
export interface FlowOptions<IdData, ReasonData, StartData> {
  /** From 1; raised when a flow that is under way could not be followed with the new definition. Both run side by side. */
  readonly version: number;
  /** The event that begins a flow. */
  readonly start: FlowFact<StartData>;
  /**
   * Which flow an event belongs to: 1 to 128 letters, digits, dots, dashes, colons and underscores; undefined: to
   * none. Annotate its parameter: every event of the flow must carry what it reads.
   */
  readonly sagaId: (data: IdData) => string | undefined;
  /** What the flow is about (an order's id), to be found by. */
  readonly key?: (data: StartData) => string;
  /** Why the flow turned back, in a word of the domain. @defaultValue the type of the event */
  readonly reason?: (data: ReasonData) => string | undefined;
}

/** What a step of a flow is told. */
export interface FlowStepOptions<Data> {
  /** Whose turn it is: the service that an alert names. */
  readonly service: string;
  /** When it is: after the start or what earlier steps came to; of several, after all. */
  readonly after: FlowFact<Data> | readonly FlowFact<Data>[];
  readonly done: FlowFact<Data>;
  /** Answers that say that it was not done, and turn the flow back. */
  readonly refused?: FlowFact<Data> | readonly FlowFact<Data>[];
  /** Says that what was done is undone. Left out: there is nothing to undo. */
  readonly undone?: FlowFact<Data>;
  /** How long the answer may take, in milliseconds from when `after` was heard. */
  readonly withinMs: number;
  /** How long the undoing may take, in milliseconds from when the turn was heard. @defaultValue `withinMs` */
  readonly undoneWithinMs?: number;
}

/** A flow whose steps are being said. Every event of it carries at least `Data`. */
export interface FlowPath<Data> {
  /**
   * Whose turn it is after what. An answer says that what it comes after has happened too, heard or not, for
   * topics are not ordered among each other.
   */
  step(name: string, options: FlowStepOptions<Data>): FlowPath<Data>;
  /**
   * Events that turn the flow back and are no step's answer: a customer's cancellation. One that is heard
   * beside all that completes the flow came too late, and changes nothing.
   */
  turnedBy(...events: readonly FlowFact<Data>[]): FlowPath<Data>;
  /**
   * What together completes the flow, which ends the definition. No step may be left over: each leads to one
   * of these. A flow that has turned ends compensated when no answer is open and all that was done is undone.
   * @throws CONFIGURATION_INVALID naming every mistake at once
   */
  completedBy(...events: readonly FlowFact<Data>[]): FlowDefinition;
}

/**
 * Begins the definition of a choreographed flow: a business action that services do by answering each other's
 * events. The definition is a value, followed from the events by any service that hears them all.
 */
export function flow<IdData, StartData extends IdData & ReasonData, ReasonData = unknown>(
  name: string,
  options: FlowOptions<IdData, ReasonData, StartData>,
): FlowPath<IdData & ReasonData> {
  return pathOf({ name, options, steps: [], turnedBy: [], facts: [options.start] });
}

/** What has been said so far. */
interface Draft<Data> {
  readonly name: string;
  readonly options: FlowOptions<never, never, never> | FlowOptions<Data, Data, Data>;
  readonly steps: readonly FlowStepPlan[];
  readonly turnedBy: readonly string[];
  /** Every event as often as it was named for a part of its own. */
  readonly facts: readonly AnyEventDefinition[];
}

function pathOf<Data>(draft: Draft<Data>): FlowPath<Data> {
  return Object.freeze<FlowPath<Data>>({
    step: (name, options) => pathOf(withStep(draft, name, options)),
    turnedBy: (...events) =>
      pathOf({
        ...draft,
        turnedBy: [...draft.turnedBy, ...events.map(({ type }) => type)],
        facts: [...draft.facts, ...events],
      }),
    completedBy: (...events) => finish(draft, events),
  });
}

function withStep<Data>(
  draft: Draft<Data>,
  name: string,
  options: FlowStepOptions<Data>,
): Draft<Data> {
  const { service, after, done, refused = [], undone, withinMs, undoneWithinMs } = options;
  const refusals = listOf(refused);
  const step: FlowStepPlan = Object.freeze({
    name,
    service,
    after: Object.freeze(listOf(after).map(({ type }) => type)),
    done: done.type,
    refused: Object.freeze(refusals.map(({ type }) => type)),
    undone: undone?.type,
    withinMs,
    undoneWithinMs: undoneWithinMs ?? withinMs,
  });
  const facts = [done, ...refusals, ...(undone === undefined ? [] : [undone])];
  return { ...draft, steps: [...draft.steps, step], facts: [...draft.facts, ...facts] };
}

function finish<Data>(
  { name, options, steps, turnedBy, facts }: Draft<Data>,
  completing: readonly AnyEventDefinition[],
): FlowDefinition {
  const definition: FlowDefinition = {
    name,
    version: options.version,
    start: options.start.type,
    steps: Object.freeze([...steps]),
    turnedBy: Object.freeze([...turnedBy]),
    completedBy: Object.freeze(completing.map(({ type }) => type)),
    events: new Map(facts.map((fact) => [fact.type, fact])),
    sagaId: options.sagaId,
    businessKey: options.key,
    reason: options.reason,
  };
  const problems = flowProblems(definition, facts);
  if (problems.length > 0) {
    throw new DureError("CONFIGURATION_INVALID", `flow "${name}": ${problems.join("; ")}`);
  }
  return Object.freeze(definition);
}

function listOf<Fact extends AnyEventDefinition>(given: Fact | readonly Fact[]): readonly Fact[] {
  return "type" in given ? [given] : given;
}
