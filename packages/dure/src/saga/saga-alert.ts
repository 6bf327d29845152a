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

/** Any object: it is written by the engine alone. */
const schema: StandardSchema<SagaParkedData> = {
  "~standard": {
    version: 1,
    vendor: "dure",
    validate: (value) => ({ value: value as SagaParkedData }),
  },
};

/** The event that commits together with the parking of a saga: a person is needed. Topic `alert`, by saga. */
export const SagaParked: EventDefinition<SagaParkedData> = event("alert.saga-parked", {
  version: 1,
  schema,
  key: (data) => data.sagaId,
});
