import type { AnyEventDefinition } from "../core/event.ts";
import type { StandardSchema } from "../core/standard-schema.ts";

/** The definition of an event that carries at least `Data`: every `EventDefinition` of such data is one. */
export interface FlowFact<Data = unknown> extends AnyEventDefinition {
  readonly schema: StandardSchema<unknown, Data>;
}

/** A service's turn: when all that it waits for has happened, it answers. Events are named by their types. */
export interface FlowStepPlan {
  readonly name: string;
  /** Whose turn it is: what an alert names. */
  readonly service: string;
  /** The start, or what earlier steps came to. */
  readonly after: readonly string[];
  readonly done: string;
  /** Answers that turn the flow back: the step did nothing. */
  readonly refused: readonly string[];
  /** Says that what was done is undone. Undefined: there is nothing to undo. */
  readonly undone: string | undefined;
  /** How long the answer may take from when the last of `after` is heard, in milliseconds. */
  readonly withinMs: number;
  /** How long the undoing may take from when it is heard that the flow has turned, in milliseconds. */
  readonly undoneWithinMs: number;
}

/**
 * A choreographed flow as a value: what begins it, whose turn it is after what, and how it ends. Nobody drives
 * it; it is followed by its events. Made by `flow`.
 */
export interface FlowDefinition {
  readonly name: string;
  /** From 1. A flow is followed to its end by the version under which it began. */
  readonly version: number;
  /** The type of the event that begins it. */
  readonly start: string;
  readonly steps: readonly FlowStepPlan[];
  /** Events that turn it back and are no step's answer. */
  readonly turnedBy: readonly string[];
  /** What together completes it. */
  readonly completedBy: readonly string[];
  /** All its events, by type. */
  readonly events: ReadonlyMap<string, AnyEventDefinition>;
  /** Which flow an event belongs to; undefined: to none of this definition. */
  readonly sagaId: (data: never) => string | undefined;
  /** What the flow is about, to be found by: of the data of the start. */
  readonly businessKey: ((data: never) => string) | undefined;
  /** Why it turned back, in a word of the domain, of the data of any event. */
  readonly reason: ((data: never) => string | undefined) | undefined;
}
