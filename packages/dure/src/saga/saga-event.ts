/** The states of a saga: the two of one that goes on, the two ends, and the two in which it is parked for a person. */
export const sagaStatuses = [
  "RUNNING",
  "COMPENSATING",
  "COMPLETED",
  "COMPENSATED",
  "FAILED",
  "COMPENSATION_FAILED",
] as const;

/** A member of {@link sagaStatuses}. */
export type SagaStatus = (typeof sagaStatuses)[number];

/** What an operator, or the saga's own service, may ask of a saga. */
export type SagaCommandKind = "cancel" | "retry" | "skip" | "compensate" | "resolve";

/** Why a saga is compensated, or parked. */
export interface SagaReason {
  /** A word of the domain, an error's code, `TIMED_OUT` or `CANCELED`. */
  readonly code: string;
  /** One line; no payload. */
  readonly error: string;
  /** The step that it was about. */
  readonly step?: string;
}

/**
 * What happened to a saga: its journal is a list of these, and its state is what they make of it. An event
 * that begins something is written before it is done, one that ends something after.
 */
export type SagaEvent =
  | {
      readonly type: "begun";
      readonly step: string;
      readonly attempt: number;
      /** Until when the answer to a command by message is waited for, by the database's clock. */
      readonly until?: number;
    }
  | { readonly type: "done"; readonly step: string; readonly result?: unknown }
  /** It did not happen and will not: the answer was definite. */
  | {
      readonly type: "refused";
      readonly step: string;
      readonly code: string;
      readonly error: string;
    }
  /** An attempt failed. Without `retryAt` it was the last one. */
  | {
      readonly type: "failed";
      readonly step: string;
      readonly code: string;
      readonly error: string;
      /** It may have had its effect all the same. */
      readonly isUnknown: boolean;
      /** Milliseconds since the epoch, by the database's clock. */
      readonly retryAt?: number;
    }
  | { readonly type: "chosen"; readonly branch: string; readonly case: string }
  /** From here on it is undone. */
  | { readonly type: "turned"; readonly reason: SagaReason }
  | {
      readonly type: "undo-begun";
      readonly step: string;
      readonly attempt: number;
      readonly until?: number;
    }
  | { readonly type: "undone"; readonly step: string }
  | {
      readonly type: "undo-failed";
      readonly step: string;
      readonly code: string;
      readonly error: string;
      readonly retryAt?: number;
    }
  | { readonly type: "deadline-passed" }
  | { readonly type: "completed"; readonly output?: unknown }
  | { readonly type: "compensated"; readonly reason: SagaReason }
  | {
      readonly type: "parked";
      readonly status: ParkedStatus;
      readonly reason: SagaReason;
      /** What is owed to the world, the last begun first, for whoever reads it without the definition. */
      readonly owed?: readonly string[];
    }
  | {
      readonly type: "commanded";
      readonly command: SagaCommandKind;
      readonly actor: string;
      readonly why: string;
      readonly step?: string;
      readonly result?: unknown;
      readonly as?: "COMPLETED" | "COMPENSATED";
      /** Of `retry`: when, by the database's clock; left out: at once. */
      readonly at?: number;
    }
  /** A command that came too late, or that the saga's state does not allow. */
  | {
      readonly type: "command-refused";
      readonly command: SagaCommandKind;
      readonly actor: string;
      readonly why: string;
    };

/** The two states in which a saga waits for a person. */
export type ParkedStatus = "FAILED" | "COMPENSATION_FAILED";

/** Whether nothing more will happen by itself. */
export function isAtRest(status: SagaStatus): boolean {
  return status !== "RUNNING" && status !== "COMPENSATING";
}
