import { event } from "../core/event.ts";
import type { EventDefinition } from "../core/event.ts";
import type { StandardSchema } from "../core/standard-schema.ts";

/** What {@link SagaParked} says. */
export interface SagaParkedData {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly status: "FAILED" | "COMPENSATION_FAILED";
  readonly step: string | null;
  readonly code: string;
  readonly error: string;
  /** The steps that were done and are not undone, the last begun first. */
  readonly owed: readonly string[];
}

/** What {@link SagaClosed} says. */
export interface SagaClosedData {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly status: "COMPLETED" | "COMPENSATED";
  /** `RESOLVED`, or what it was undone for before its first step. */
  readonly code: string;
  /** One line: what the operator gave as the reason, or what happened. */
  readonly error: string;
  /** The operator who resolved it; null: it was undone before its first step. */
  readonly actor: string | null;
}

/** Any object: it is written by the library alone. */
function schemaOf<Data>(): StandardSchema<Data> {
  return {
    "~standard": {
      version: 1,
      vendor: "dure",
      validate: (value) => ({ value: value as Data }),
    },
  };
}

/** The event that commits together with the parking of a saga: a person is needed. Topic `alert`, by saga. */
export const SagaParked: EventDefinition<SagaParkedData> = event("alert.saga-parked", {
  version: 1,
  schema: schemaOf(),
  key: (data) => data.sagaId,
});

/**
 * The event that commits together with an end that none of the saga's own steps can tell: an operator resolved
 * it (a parked saga, or a flow), or it was undone before its first step had begun. Of every other end it is not
 * written: its steps and compensations have said what there is to say. Topic `alert`, by saga: behind the
 * {@link SagaParked} of the same saga.
 */
export const SagaClosed: EventDefinition<SagaClosedData> = event("alert.saga-closed", {
  version: 1,
  schema: schemaOf(),
  key: (data) => data.sagaId,
});
