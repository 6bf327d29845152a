import type { Alerts } from "../core/alerts.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, isDureError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Statement } from "../core/transaction.ts";
import type { Trouble } from "../core/trouble.ts";
import { TurnoverMap } from "../core/turnover-map.ts";
import { JournalLanes } from "./journal-lanes.ts";
import type { Moment } from "./saga-attempt.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { SagaEvent } from "./saga-event.ts";
import { outcomeOf } from "./saga-outcomes.ts";
import type { SagaOutcomes } from "./saga-outcomes.ts";
import { planKey } from "./saga-plans.ts";
import { SagaRun } from "./saga-run.ts";
import type { Announcement, RunHost } from "./saga-run.ts";
import type { SignalBody } from "./saga-signal.ts";
import { replay } from "./saga-replay.ts";
import { initialState } from "./saga-state.ts";
import type { SagaState, StepState } from "./saga-state.ts";
import type { JournalEntry, SagaSignal, SagaStart, SagaStore, StoredSaga } from "./saga-store.ts";
import { StatementLane } from "./statement-lane.ts";
import { makeAttempt } from "./step-attempts.ts";
import type { AttemptParts } from "./step-attempts.ts";

/** What a membership needs. */
export interface MembershipParts extends Pick<AttemptParts, "transaction" | "onAnnounced"> {
  readonly runStatements: (statements: readonly Statement[]) => Promise<void>;
  readonly store: SagaStore;
  readonly process: number;
  readonly plans: ReadonlyMap<string, SagaPlan>;
  readonly settings: { readonly leaseMs: number; readonly concurrency: number };
  readonly outcomes: SagaOutcomes;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly alerts: Alerts;
  readonly trouble: Trouble;
  /** Events as the statement that writes them to the outbox; none: no statement. */
  readonly prepareEvents: (
    run: SagaRun,
    events: readonly Announcement[],
  ) => Promise<readonly Statement[]>;
  readonly announce: RunHost["announce"];
  /** Events have been written to the outbox. */
  readonly onAnnounced: () => void;
  /** There is room for more sagas. */
  readonly onRoom: () => void;
}

/** A start on its way. */
interface Starting {
  /** Whether the id was free. */
  readonly isNew: Promise<boolean>;
  readonly reject: (reason: unknown) => void;
}

const signalsMax = 500;
/** A saga that was taken over is loaded with its journal: this many at a time. */
const loadMax = 500;

/** One incarnation of a process that drives sagas: what it drives, and until when it may. */
export class SagaMembership implements RunHost {
  readonly process: number;
  readonly runs: TurnoverMap<SagaRun> = new TurnoverMap();
  readonly #parts: MembershipParts;
  readonly #lanes: JournalLanes;
  readonly #lost: AbortController = new AbortController();
  readonly #attempts: AttemptParts;
  #batch = 0;
  #leaseUntil = 0;
  #databaseNow = 0;
  #databaseNowAt = 0;
  /** Starts that are not known to be durable, and how they fail. */
  readonly #starting: TurnoverMap<Starting> = new TurnoverMap();
  /** Places that are promised to a claim on its way. */
  #claiming = 0;
  /** A start was turned away for their sake: it is looked for at once. */
  #isCrowded = false;
  /** Until then it is looked whether anything belongs to this process that it does not know of. */
  #inDoubtUntil = 0;
  isStopping = false;
  isFenced = false;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.process = parts.process;
    this.#lanes = new JournalLanes({
      store: parts.store,
      process: parts.process,
      nextBatch: () => (this.#batch += 1),
      clock: parts.clock,
      trouble: parts.trouble,
      signal: this.signal,
      onFenced: () => this.lose("it was fenced"),
    });
    const statements = new StatementLane({
      store: parts.store,
      process: parts.process,
      nextBatch: () => (this.#batch += 1),
      runStatements: parts.runStatements,
      clock: parts.clock,
    });
    this.#attempts = {
      transaction: parts.transaction,
      writeWithStatement: async (statement, entry, events) => {
        if (events.length === 0) return statements.append(entry, statement);
        const record = await this.#attempts.statementsOf(entry, events);
        await parts.runStatements([statement, ...record]);
        parts.onAnnounced();
      },
      onAnnounced: parts.onAnnounced,
      leaseMs: parts.settings.leaseMs,
      statementsOf: async (entry, events) => [
        ...(await this.#outboxStatements(entry, events)),
        parts.store.recordStatement(this.process, (this.#batch += 1), entry),
      ],
    };
  }

  /** Aborts when this process no longer drives sagas under this number. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** By this process's clock, counted from before the lease was asked for. */
  get leaseMsLeft(): number {
    return this.#leaseUntil - this.#parts.clock.monotonic();
  }

  /** It stops, and nothing is under way any more. */
  get isDrained(): boolean {
    return this.isStopping && this.runs.size === 0;
  }

  renewed(askedAt: number, databaseNow: number): void {
    this.#leaseUntil = askedAt + this.#parts.settings.leaseMs;
    this.#databaseNow = databaseNow;
    this.#databaseNowAt = this.#parts.clock.monotonic();
  }

  moment(): Moment {
    const { clock } = this.#parts;
    const now = this.#databaseNow + clock.monotonic() - this.#databaseNowAt;
    return { now: Math.floor(now), random: () => clock.random() };
  }

  /** Whether one more saga may be driven here. */
  get hasRoom(): boolean {
    const isFull = this.runs.size + this.#claiming >= this.#parts.settings.concurrency;
    if (isFull && this.#claiming > 0) this.#isCrowded = true;
    return !this.isStopping && !isFull;
  }

  /**
   * Starts a saga and drives it. Resolves to whether the id was free.
   * @throws FENCED when the process was lost before that was known
   */
  async start(plan: SagaPlan, start: SagaStart, input: unknown): Promise<boolean> {
    const { sagaId } = start;
    const starting = this.#starting.get(sagaId);
    if (starting !== undefined) return starting.isNew.then(() => false);
    // Driven here: a second driver beside the first would be one too many.
    if (this.runs.has(sagaId)) return false;
    if (this.signal.aborted) throw this.signal.reason as Error;
    const { promise: isNew, resolve, reject } = Promise.withResolvers<boolean>();
    this.#starting.set(sagaId, { isNew, reject });
    this.#begin(plan, start, input).then(resolve, reject);
    try {
      return await isNew;
    } finally {
      this.#starting.delete(sagaId);
    }
  }

  #begin(plan: SagaPlan, start: SagaStart, input: unknown): Promise<boolean> {
    const { deadlineMs } = start;
    const run = new SagaRun(this, {
      sagaId: start.sagaId,
      plan,
      state: initialState(input),
      n: 0,
      traceparent: start.traceparent,
      deadlineAt: deadlineMs === undefined ? undefined : this.moment().now + deadlineMs,
    });
    this.runs.set(start.sagaId, run);
    return run.begin(start);
  }

  /** Hands over: what is under way is finished, nothing new is begun. */
  stop(): void {
    this.isStopping = true;
    for (const run of this.runs.values()) run.deliver([]);
  }

  /** Another process may drive its sagas from now on. */
  lose(why: string): void {
    this.isFenced = true;
    this.end();
    if (!this.isStopping) {
      this.#parts.logger.warn("this process has lost its sagas to others; it joins anew", {
        process: this.process,
        why,
      });
    }
  }

  /** Nothing is driven under this number any more. */
  end(): void {
    for (const run of this.runs.values()) run.isDropped = true;
    const message = `process ${this.process} of the saga engine drives no sagas any more`;
    this.#lost.abort(new DureError("FENCED", message));
    for (const { reject } of this.#starting.values()) reject(this.signal.reason);
  }

  /** Takes signals, overdue sagas and what is due. Resolves to whether there may be more at once. */
  async look(): Promise<boolean> {
    const { store, plans, settings } = this.#parts;
    for (const run of this.runs.values()) run.look();
    // Those for sagas that nobody drives come with their claim.
    if (this.runs.size > 0) {
      for (const signal of await store.signals(this.process, signalsMax)) this.#signal(signal);
    }
    if (this.isStopping) return false;
    if (this.#parts.clock.monotonic() < this.#inDoubtUntil) {
      const owned = await store.owned(this.process);
      await this.#adopt(owned.filter((sagaId) => !this.runs.has(sagaId)));
    }
    const room = Math.min(settings.concurrency - this.runs.size, loadMax);
    if (room <= 0 || plans.size === 0) return false;
    // An equal share for each definition: one with a long queue does not keep the others waiting.
    const share = Math.ceil(room / plans.size);
    const places = [...plans.values()].map(({ definition: { name, version } }) => ({
      definition: name,
      version,
      places: share,
    }));
    this.#claiming = room;
    this.#isCrowded = false;
    try {
      const claimed = await this.#claim(places);
      await this.#adopt(claimed);
      return claimed.length >= share || this.#isCrowded;
    } finally {
      this.#claiming = 0;
    }
  }

  async #claim(places: Parameters<SagaStore["claim"]>[1]): Promise<readonly string[]> {
    try {
      return await this.#parts.store.claim(this.process, places);
    } catch (error) {
      // What was claimed without our hearing of it is ours, and nobody else would look after it.
      if (!isDureError(error, "FENCED")) this.#doubt();
      throw error;
    }
  }

  #signal(signal: SagaSignal): void {
    this.runs.get(signal.sagaId)?.receive({ id: signal.id, body: signal.body as SignalBody });
  }

  async #adopt(sagaIds: readonly string[]): Promise<void> {
    if (sagaIds.length === 0) return;
    const { store } = this.#parts;
    try {
      const [sagas, signals] = await Promise.all([store.load(sagaIds), store.signalsOf(sagaIds)]);
      for (const saga of sagas) this.#resume(saga, signals);
    } catch (error) {
      this.#doubt();
      throw error;
    }
  }

  /** For a while: a claim whose answer was lost may still be on its way to the database. */
  #doubt(): void {
    this.#inDoubtUntil = this.#parts.clock.monotonic() + this.#parts.settings.leaseMs;
  }

  #resume(saga: StoredSaga, signals: readonly SagaSignal[]): void {
    const plan = this.#parts.plans.get(planKey(saga.definition, saga.version));
    if (plan === undefined || this.signal.aborted || saga.process !== this.process) return;
    let state: SagaState;
    try {
      state = replay(plan, saga);
    } catch (error) {
      this.#cannotGoOn(saga, error);
      return;
    }
    const run = new SagaRun(this, {
      sagaId: saga.sagaId,
      plan,
      state,
      n: saga.journal.length,
      traceparent: saga.traceparent,
      deadlineAt: saga.deadlineAt,
    });
    this.runs.set(saga.sagaId, run);
    const mine = signals.filter(({ sagaId }) => sagaId === saga.sagaId);
    run.resume(mine.map(({ id, body }) => ({ id, body: body as SignalBody })));
  }

  /** Its journal does not fit its definition: the definition was changed without a new version. */
  #cannotGoOn(saga: StoredSaga, error: unknown): void {
    this.#parts.alerts.errorWhile(
      true,
      `saga ${saga.sagaId} cannot go on: its journal does not fit its definition; give changed definitions a new version`,
      { definition: saga.definition, version: saga.version, error: String(error) },
    );
  }

  attempt(run: SagaRun, step: StepState, isUndo: boolean): void {
    void makeAttempt(this.#attempts, run, step, { isUndo, signal: this.signal });
  }

  async append(entry: JournalEntry, events: readonly Announcement[]): Promise<boolean> {
    if (events.length === 0) return this.#lanes.append(entry);
    return this.#appendWithEvents(entry, events);
  }

  /** Rare: a command by message, an alert. In a transaction of its own, tried until its outcome is known. */
  async #appendWithEvents(entry: JournalEntry, events: readonly Announcement[]): Promise<boolean> {
    const { store, clock, trouble, runStatements } = this.#parts;
    const batch = (this.#batch += 1);
    while (!this.signal.aborted) {
      try {
        const outbox = await this.#outboxStatements(entry, events);
        await runStatements([...outbox, store.recordStatement(this.process, batch, entry)]);
        this.#parts.onAnnounced();
        return true;
      } catch (error) {
        if (isDureError(error, "FENCED")) return false;
        trouble.failed(error);
        await clock.sleep(200, this.signal);
      }
    }
    return new Promise(() => undefined);
  }

  async #outboxStatements(
    entry: JournalEntry,
    events: readonly Announcement[],
  ): Promise<readonly Statement[]> {
    const run = this.runs.get(entry.sagaId);
    return run === undefined || events.length === 0 ? [] : this.#parts.prepareEvents(run, events);
  }

  announce(run: SagaRun, events: readonly SagaEvent[]): readonly Announcement[] {
    return this.#parts.announce(run, events);
  }

  released(run: SagaRun, entry: JournalEntry): void {
    if (this.runs.get(run.sagaId) === run) this.runs.delete(run.sagaId);
    const { outcomes } = this.#parts;
    if (outcomes.isAwaited(run.sagaId)) {
      // As whoever asks the journal reads it.
      const events = JSON.parse(entry.events) as readonly SagaEvent[];
      const outcome = outcomeOf(run.state.status, events);
      if (outcome === undefined) outcomes.left(run.sagaId);
      else outcomes.settle(run.sagaId, outcome);
    }
    if (this.isStopping || this.runs.size === this.#parts.settings.concurrency - 1) {
      this.#parts.onRoom();
    }
  }

  outdated(run: SagaRun): void {
    if (this.runs.get(run.sagaId) === run) this.runs.delete(run.sagaId);
    // If it still belongs to this process, its journal says how it stands. Not where its start was not taken.
    if (run.n > 0) this.#doubt();
    this.#parts.outcomes.left(run.sagaId);
    this.#parts.onRoom();
  }

  callBack(run: SagaRun, ms: number): void {
    void this.#parts.clock.sleep(ms, this.signal).then(() => {
      if (!run.isDropped && this.runs.get(run.sagaId) === run) run.look();
    });
  }
}
