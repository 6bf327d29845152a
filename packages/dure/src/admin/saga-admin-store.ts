import type { RecordedSaga } from "../saga/saga-details.ts";
import type { SagaCommandKind, SagaStatus } from "../saga/saga-event.ts";
import type { ActorWithReason } from "./actor.ts";

/** Which sagas are meant; what is left out does not narrow. */
export interface SagaFilter {
  readonly definition?: string;
  readonly status?: SagaStatus;
  readonly businessKey?: string;
}

/** One line of a list of sagas. */
export interface ListedSaga {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly businessKey: string | null;
  readonly status: SagaStatus;
  readonly startedAt: string;
  readonly endedAt: string | null;
}

/** The last saga of a page. */
export interface SagaPlace {
  readonly startedAt: string;
  readonly sagaId: string;
}

/** A saga that no process drives and that goes on by itself at a time. */
export interface SagaTimer {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly businessKey: string | null;
  readonly status: SagaStatus;
  readonly wakeAt: string;
  /** From when on, before its pivot, it is compensated. */
  readonly deadlineAt: string | null;
}

/** An operator's command as it is left for whoever drives the saga. */
export interface StoredSagaCommand {
  /** The journal's length when the operator looked; undefined where the saga goes on meanwhile. */
  readonly n: number | undefined;
  readonly command: SagaCommandKind;
  /** What tells it from other commands of this kind: left once, while it waits. */
  readonly subject: string;
  readonly body: unknown;
}

/**
 * What became of it. `repeated`: the same one waits already. `busy`: another one does. `moved`: the journal has
 * grown since the operator looked.
 */
export type StoredCommandOutcome = "taken" | "repeated" | "busy" | "moved" | "ended" | "unknown";

/** What became of moving a deadline. `followed`: it is a flow, which has none of its own. */
export type MovedDeadline = "moved" | "repeated" | "followed" | "parked" | "ended" | "unknown";

/** What an operator may see of the sagas, and do to them, in the store's tables. */
export interface SagaAdminStore {
  /** By id; what is not there is left out. */
  load(sagaIds: readonly string[]): Promise<readonly RecordedSaga[]>;
  /** The newest first, after that place. */
  list(
    filter: SagaFilter,
    limit: number,
    after: SagaPlace | undefined,
  ): Promise<readonly ListedSaga[]>;
  /** Those that go on soonest first. */
  timers(filter: Pick<SagaFilter, "definition">, limit: number): Promise<readonly SagaTimer[]>;
  /** Ids of sagas that have not ended, in their order, after that one. */
  live(limit: number, after: string | undefined): Promise<readonly string[]>;
  /** Leaves a command, with its entry in the audit log, in one commit. */
  command(
    sagaId: string,
    command: StoredSagaCommand,
    by: ActorWithReason,
  ): Promise<StoredCommandOutcome>;
  /** Null: it has none any more. With its entry in the audit log, in one commit. */
  moveDeadline(
    sagaId: string,
    deadlineAt: string | null,
    by: ActorWithReason,
  ): Promise<MovedDeadline>;
}
