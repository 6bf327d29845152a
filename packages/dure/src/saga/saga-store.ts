import type { Statement, TransactionHandle } from "../core/transaction.ts";
import type { SagaStatus } from "./saga-event.ts";

/** A saga that begins, as it is stored. */
export interface SagaStart {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly businessKey: string | undefined;
  /** JSON. */
  readonly input: string;
  readonly traceparent: string | undefined;
  readonly deadlineMs: number | undefined;
}

/**
 * What becomes of a saga with an entry. `end`: nothing more happens to it. `free`: no process drives it
 * until `wakeInMs` have passed or a signal for it has come; undefined: until a signal alone.
 */
export type SagaMove =
  | { readonly kind: "stay"; readonly status: SagaStatus }
  | { readonly kind: "end"; readonly status: SagaStatus }
  | {
      readonly kind: "free";
      readonly status: SagaStatus | undefined;
      readonly wakeInMs: number | undefined;
    };

/** The next entry of one saga's journal. */
export interface JournalEntry {
  readonly sagaId: string;
  /** From 1, without gaps. */
  readonly n: number;
  /** JSON: the events. */
  readonly events: string;
  /** With the first entry of a saga that starts. */
  readonly start?: SagaStart | undefined;
  readonly move?: SagaMove | undefined;
  /** Signals that the entry answers: they go with it. */
  readonly signals?: readonly number[] | undefined;
}

/** What others want of a saga. */
export interface SagaSignal {
  readonly id: number;
  readonly sagaId: string;
  readonly body: unknown;
}

/** A saga as a new owner finds it. */
export interface StoredSaga {
  readonly sagaId: string;
  readonly definition: string;
  readonly version: number;
  readonly status: SagaStatus;
  readonly businessKey: string | undefined;
  readonly input: unknown;
  readonly traceparent: string | undefined;
  readonly startedAt: string;
  readonly endedAt: string | undefined;
  /** Milliseconds since the epoch, by the database's clock. */
  readonly deadlineAt: number | undefined;
  /** It is driven by this process; undefined: by none. */
  readonly process: number | undefined;
  /** Each entry's events, in order. */
  readonly journal: readonly (readonly unknown[])[];
}

/** How many sagas of a definition may be taken over. */
export interface ClaimPlaces {
  readonly definition: string;
  readonly version: number;
  readonly places: number;
}

/**
 * Where sagas are kept. One process drives a saga at a time: it has joined under a lease, each of its writes
 * is refused once it has been fenced, and the number of an entry is taken once.
 */
export interface SagaStore {
  /** A new incarnation of this process, under a lease; and what time it is in the database. */
  join(leaseMs: number): Promise<{ readonly process: number; readonly now: number }>;
  /** Renews the lease. Undefined: it was fenced. */
  beat(process: number, leaseMs: number): Promise<{ readonly now: number } | undefined>;
  /** Fences the processes whose lease has run out, and frees their sagas. Resolves to how many were freed. */
  takeOver(): Promise<number>;
  /** Fences this process, and frees its sagas. */
  leave(process: number): Promise<void>;
  /**
   * Writes entries, all in one commit. Resolves to the sagas whose entry was not taken: it is another's
   * entry, or the id was started before. Called again with the same `batch` it does and answers the same.
   * @throws FENCED when the process has been fenced: nothing was written
   */
  record(
    process: number,
    batch: number,
    entries: readonly JournalEntry[],
  ): Promise<ReadonlySet<string>>;
  /**
   * As `record`, unless it would wait for another's lock: a user's open transaction may have the id of a saga that
   * starts. Undefined: nothing was written, for that reason.
   * @throws FENCED
   */
  recordSoon(
    process: number,
    batch: number,
    entries: readonly JournalEntry[],
  ): Promise<ReadonlySet<string> | undefined>;
  /** One entry as a statement, for the end of a transaction; it fails (FENCED) where `record` would not take it. */
  recordStatement(process: number, batch: number, entry: JournalEntry): Statement;
  /** As `recordStatement`, for the entries of many sagas: all of them, or it fails. */
  recordStatements(process: number, batch: number, entries: readonly JournalEntry[]): Statement;
  /** Bounds each wait for a lock in the rest of the transaction. */
  lockWaitStatement(ms: number): Statement;
  /** @throws FENCED */
  claim(process: number, places: readonly ClaimPlaces[]): Promise<readonly string[]>;
  /** Definitions with sagas that have been due, or have had a signal, for a minute and that nobody has taken. */
  leftBehind(): Promise<
    readonly { readonly definition: string; readonly version: number; readonly count: number }[]
  >;
  /** The ids that belong to the process. */
  owned(process: number): Promise<readonly string[]>;
  /** Signals for sagas of the process, the oldest first. */
  signals(process: number, limit: number): Promise<readonly SagaSignal[]>;
  /** Signals for these sagas, the oldest first. */
  signalsOf(sagaIds: readonly string[]): Promise<readonly SagaSignal[]>;
  /** With their journals. What is not there is left out. In `tx`: on its connection, with what it has written. */
  load(sagaIds: readonly string[], tx?: TransactionHandle): Promise<readonly StoredSaga[]>;
  /**
   * Starts a saga in the caller's transaction, for whichever process has room. Undefined: it was started.
   * Otherwise what has the id.
   */
  start(
    tx: TransactionHandle,
    start: SagaStart,
  ): Promise<
    { readonly definition: string; readonly version: number; readonly input: unknown } | undefined
  >;
  /** False: the saga has ended, or is not known. Given twice with one key it is one. */
  signal(
    tx: TransactionHandle | undefined,
    sagaId: string,
    signal: { readonly dedupKey: string; readonly body: unknown },
  ): Promise<boolean>;
  /** The status and last events of those that are known. */
  outcomes(sagaIds: readonly string[]): Promise<
    readonly {
      readonly sagaId: string;
      readonly status: SagaStatus;
      readonly events: readonly unknown[];
    }[]
  >;
}
