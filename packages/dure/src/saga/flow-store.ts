import type { TransactionHandle } from "../core/transaction.ts";
import type { FlowOverdueData } from "./flow-alert.ts";
import type { SagaClosedData } from "./saga-alert.ts";
import type { FlowWait } from "./flow-standing.ts";
import type { SagaReason, SagaStatus } from "./saga-event.ts";

/** An event that was heard of a flow. */
export interface HeardFact {
  readonly type: "heard";
  /** The event's type: it stands where a saga's events name their step. */
  readonly step: string;
  readonly messageId: string;
  /** When it was written, by its service's database: ISO 8601. */
  readonly at: string;
  /** The reason that it gave. */
  readonly code?: string;
}

/**
 * What stands in the journal of a flow. Its last entry says how it ended: what is heard after the end is
 * written together with the end once more.
 */
export type FlowEvent =
  | HeardFact
  | { readonly type: "turned"; readonly reason: SagaReason }
  /** It was noted that the answer (`step`: the wait) takes too long. */
  | {
      readonly type: "overdue";
      readonly step: string;
      readonly service: string;
      readonly since: string;
    }
  /** An operator has ended it: with the end itself in the same entry. */
  | {
      readonly type: "commanded";
      readonly command: "resolve";
      readonly actor: string;
      readonly why: string;
      readonly as: "COMPLETED" | "COMPENSATED";
    }
  | { readonly type: "completed" }
  | { readonly type: "compensated"; readonly reason: SagaReason };

/** Names a flow. */
export interface FlowName {
  readonly definition: string;
  readonly sagaId: string;
}

/** What is known of a flow that is held. */
export interface OpenedFlow extends FlowName {
  /** Undefined: its start has not been heard. `definition` may be another's: then the id is not a flow's of this name. */
  readonly instance:
    | { readonly definition: string; readonly version: number; readonly status: SagaStatus }
    | undefined;
  /** Of an instance: its journal. Else what was heard before its start. */
  readonly events: readonly FlowEvent[];
}

/** The next entry of a flow's journal, and where the flow stands with it. */
export interface FlowEntry extends FlowName {
  readonly version: number;
  readonly events: readonly FlowEvent[];
  readonly status: SagaStatus;
  readonly isEnd: boolean;
  /** All that is waited for now: what was waited for before keeps its time. */
  readonly waits: readonly FlowWait[];
  /** With the first entry. */
  readonly start?:
    | {
        readonly businessKey: string | undefined;
        readonly traceparent: string | undefined;
        readonly input: unknown;
      }
    | undefined;
}

/** Where flows are kept: in the tables of sagas. Every write is part of a transaction of the caller. */
export interface FlowStore {
  /**
   * Holds these flows until the transaction ends, those that nothing is known of too, all transactions in the
   * same order; and says what is committed of them.
   */
  open(tx: TransactionHandle, names: readonly FlowName[]): Promise<readonly OpenedFlow[]>;
  /** Writes entries of flows that are held, and what was heard of those that have not started. */
  record(
    tx: TransactionHandle,
    entries: readonly FlowEntry[],
    early: readonly (FlowName & { readonly fact: HeardFact })[],
  ): Promise<void>;
  /** Notes some waits whose time is over, each once, and says of which flows; of none: no more are left. */
  noteOverdue(tx: TransactionHandle, limit: number): Promise<readonly FlowOverdueData[]>;
  /** Ends some flows as operators have asked, and says which; of none: none are left that nobody holds. */
  resolve(tx: TransactionHandle, limit: number): Promise<readonly SagaClosedData[]>;
  /** Forgets what has waited for its start for longer. Resolves to how much; fewer than the limit: no more is left. */
  forgetEarly(tx: TransactionHandle, olderMs: number, limit: number): Promise<number>;
}
