import { event } from "../core/event.ts";
import type { EventDefinition } from "../core/event.ts";
import type { StandardSchema } from "../core/standard-schema.ts";

/** What {@link FlowOverdue} says. */
export interface FlowOverdueData {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly businessKey: string | null;
  readonly status: "RUNNING" | "COMPENSATING";
  /** The services whose answers take too long. */
  readonly waitingFor: readonly string[];
  /** Since when the longest of them is waited for: the database's clock, ISO 8601. */
  readonly since: string;
}

/** Any object: it is written by the watch alone. */
const schema: StandardSchema<FlowOverdueData> = {
  "~standard": {
    version: 1,
    vendor: "dure",
    validate: (value) => ({ value: value as FlowOverdueData }),
  },
};

/**
 * The event that commits together with the note that a flow waits too long: once for each wait. It changes
 * nothing; the answer may still come. Topic `alert`, by saga.
 */
export const FlowOverdue: EventDefinition<FlowOverdueData> = event("alert.flow-overdue", {
  version: 1,
  schema,
  key: (data) => data.sagaId,
});
