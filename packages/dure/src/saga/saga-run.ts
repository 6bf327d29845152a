import { DureError } from "../core/errors.ts";
import type { EventToWrite } from "../core/event.ts";
import { recover, nextDueAt, settled, undoSettled, wakeUp } from "./saga-attempt.ts";
import type { AttemptOutcome, Moment } from "./saga-attempt.ts";
import { proceed } from "./saga-decision.ts";
import type { SagaPlan } from "./saga-decision.ts";
import type { SagaEvent } from "./saga-event.ts";
import { isAtRest } from "./saga-event.ts";
import { answerSignal } from "./saga-signal.ts";
import type { SignalBody } from "./saga-signal.ts";
import { apply, copyState } from "./saga-state.ts";
import type { SagaState, StepState } from "./saga-state.ts";
import type { JournalEntry, SagaMove, SagaStart } from "./saga-store.ts";

/** What is written to the outbox together with an entry. */
export interface Announcement {
  readonly event: EventToWrite;
  readonly correlationId: string;
  /** It does not fit its schema, which only says so later: it is left out, and the entry written without it. */
  readonly onInvalid?: (error: unknown) => void;
}

/** What a saga in memory needs of the engine that drives it. */
export interface RunHost {
  moment(): Moment;
  /** Resolves to whether the entry was taken. `events` go to the outbox with it. */
  append(entry: JournalEntry, events: readonly Announcement[]): Promise<boolean>;
  /** Makes one attempt, whose intent is in the journal. Resolves when there is an outcome to deliver. */
  attempt(run: SagaRun, step: StepState, isUndo: boolean): void;
  /** What must be told outside together with the events: commands by message, alerts. */
  announce(run: SagaRun, events: readonly SagaEvent[]): readonly Announcement[];
  /** It ended, was parked, or waits for its time without a process: with this entry. */
  released(run: SagaRun, entry: JournalEntry): void;
  /** An entry was not taken: what is in memory is not what is in the journal. */
  outdated(run: SagaRun): void;
  /** Calls back after that time, unless the saga is not driven here any more. */
  callBack(run: SagaRun, ms: number): void;
  readonly isStopping: boolean;
}

/** Waits shorter than this keep the saga in memory. */
const holdMs = 1_000;

/**
 * One saga while this process drives it. Whatever happens to it (an attempt's outcome, a signal, the time)
 * comes in as events; they are written together with all that follows from them, the intents of the next
 * steps included, and only then is anything begun. One entry at a time is on its way.
 */
export class SagaRun {
  readonly sagaId: string;
  readonly plan: SagaPlan;
  readonly traceparent: string | undefined;
  /** As its row says, with what was said of it since. */
  deadlineAt: number | undefined;
  /** Attempts under way: the step's name, with a mark in front when it is being undone. */
  readonly executing: Set<string> = new Set();
  state: SagaState;
  /** Entries in the journal. */
  n: number;
  /** Nothing of it is acted upon here any more. */
  isDropped = false;
  #isOutdated = false;
  readonly #host: RunHost;
  #events: SagaEvent[] = [];
  /** Not answered yet: they are when the next entry is made, in the light of all that is in it. */
  #signals: readonly Signal[] = [];
  /** All that ever came: until an entry with them is known to be taken they are read again and again. */
  readonly #seen: Set<number> = new Set();
  /** What is to be done when the entry that is being made has been written. */
  #afterwards: (() => void)[] = [];
  #start: SagaStart | undefined;
  /** What kept it here is over: it may be let go of. */
  #isKept = false;
  #writing: Promise<void> | undefined;

  constructor(
    host: RunHost,
    parts: {
      readonly sagaId: string;
      readonly plan: SagaPlan;
      readonly state: SagaState;
      readonly n: number;
      readonly traceparent: string | undefined;
      readonly deadlineAt: number | undefined;
    },
  ) {
    this.#host = host;
    this.sagaId = parts.sagaId;
    this.plan = parts.plan;
    this.state = parts.state;
    this.n = parts.n;
    this.traceparent = parts.traceparent;
    this.deadlineAt = parts.deadlineAt;
  }

  /** Writes the first entry, with the start itself. Resolves to whether the id was free. */
  async begin(start: SagaStart): Promise<boolean> {
    this.#start = start;
    await this.#flush();
    return !this.#isOutdated;
  }

  /** Goes on where another process, or an earlier life of this one, left it. */
  resume(signals: readonly Signal[]): void {
    this.#events.push(...recover(this.state, this.#host.moment()));
    for (const { id } of signals) this.#seen.add(id);
    this.#signals = signals;
    this.deliver([]);
  }

  /** Something happened. */
  deliver(events: readonly SagaEvent[]): void {
    this.#events.push(...events);
    if (this.#writing === undefined && !this.#isHeld) void this.#flush();
  }

  /** An attempt came to something. */
  settle(step: StepState, isUndo: boolean, outcome: AttemptOutcome): void {
    if (this.isDropped) return;
    this.executing.delete(markOf(step, isUndo));
    const current = this.state.steps.get(step.plan.name);
    if (current === undefined) return;
    const moment = this.#host.moment();
    this.deliver([
      isUndo ? undoSettled(current, outcome, moment) : settled(current, outcome, moment),
    ]);
  }

  /** A signal came while it is driven here. Given again it is one. */
  receive(signal: Signal): void {
    if (this.isDropped || this.#seen.has(signal.id)) return;
    this.#seen.add(signal.id);
    this.#signals = [...this.#signals, signal];
    this.deliver([]);
  }

  /**
   * While an entry is made: the attempt that it begins cannot be made at all. It is under way until that entry
   * has been written, and forgotten if it is not.
   */
  failAfterwards(step: StepState, isUndo: boolean, outcome: AttemptOutcome): void {
    this.executing.add(markOf(step, isUndo));
    this.#afterwards.push(() => this.settle(step, isUndo, outcome));
  }

  /**
   * While an entry is made: whether the command that it sends fits is only known when it is written. Until then it
   * is under way; called back with a failure, the attempt has failed.
   */
  checkAfterwards(step: StepState, isUndo: boolean): (outcome: AttemptOutcome) => void {
    let failure: AttemptOutcome | undefined;
    this.executing.add(markOf(step, isUndo));
    this.#afterwards.push(() => {
      if (failure !== undefined) return this.settle(step, isUndo, failure);
      this.executing.delete(markOf(step, isUndo));
      this.#isKept = true;
    });
    return (outcome) => {
      failure = outcome;
    };
  }

  /** Time has passed: what waits for it goes on. */
  look(): void {
    if (this.isDropped || this.#writing !== undefined || this.#isHeld) return;
    const moment = this.#host.moment();
    const events = [...wakeUp(this.state, moment)];
    if (this.#isOverdue(moment.now)) events.push({ type: "deadline-passed" });
    if (events.length > 0) this.deliver(events);
    else this.#arrange();
  }

  /**
   * For an attempt whose effect commits with the journal: waits until no entry is on its way, and lets none
   * begin until it is over. The entry is taken when `work` resolves.
   */
  async writeWith(
    step: StepState,
    isUndo: boolean,
    outcome: AttemptOutcome,
    work: (entry: JournalEntry, events: readonly Announcement[]) => Promise<void>,
  ): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    if (this.isDropped)
      throw new DureError("FENCED", `saga ${this.sagaId} is not driven here any more`);
    const over = Promise.withResolvers<void>();
    this.#writing = over.promise;
    const before = {
      state: this.state,
      events: this.#events,
      signals: this.#signals,
      executing: new Set(this.executing),
    };
    try {
      this.state = copyState(this.state);
      this.executing.delete(markOf(step, isUndo));
      const current = this.state.steps.get(step.plan.name) ?? step;
      const moment = this.#host.moment();
      this.#events = [
        isUndo ? undoSettled(current, outcome, moment) : settled(current, outcome, moment),
        ...before.events,
      ];
      const { entry, announced } = this.#nextEntry();
      await work(entry, announced);
      this.#written(entry);
    } catch (error) {
      this.state = before.state;
      this.#events = [...before.events, ...this.#events];
      this.#signals = [...before.signals, ...this.#signals];
      this.#afterwards = [];
      // What ended meanwhile is over all the same; only what this entry would have begun is not under way.
      for (const mark of this.executing) {
        if (!before.executing.has(mark)) this.executing.delete(mark);
      }
      this.executing.add(markOf(step, isUndo));
      throw error;
    } finally {
      this.#writing = undefined;
      over.resolve();
      // What came in meanwhile.
      if (!this.isDropped && this.#hasNews) this.deliver([]);
      else if (!this.isDropped) this.#arrange();
    }
  }

  async #flush(): Promise<void> {
    const over = Promise.withResolvers<void>();
    this.#writing = over.promise;
    try {
      do {
        const { entry, announced } = this.#nextEntry();
        if (entry.events === "[]" && entry.signals === undefined && entry.move === undefined) break;
        const isTaken = await this.#host.append(entry, announced);
        if (this.isDropped) return;
        if (!isTaken) {
          this.isDropped = true;
          this.#isOutdated = true;
          return this.#host.outdated(this);
        }
        this.#written(entry);
      } while (!this.isDropped && this.#hasNews && !this.#isHeld);
    } finally {
      this.#writing = undefined;
      over.resolve();
    }
    if (!this.isDropped) this.#arrange();
  }

  /** There is something to write; a saga that is to be handed over always has. */
  get #hasNews(): boolean {
    if (this.#events.length > 0 || this.#signals.length > 0 || this.#isKept) return true;
    return this.#host.isStopping && this.executing.size === 0;
  }

  /**
   * A step's own transaction is open, or waits for a connection. It will take what has come in with it; an
   * entry of its own would wait for a connection that such transactions may all have, while they wait for it.
   */
  get #isHeld(): boolean {
    for (const mark of this.executing) {
      const isUndo = mark.startsWith("-");
      const plan = this.plan.steps.get(isUndo ? mark.slice(1) : mark);
      if ((isUndo ? plan?.compensation : plan)?.action.kind === "local") return true;
    }
    return false;
  }

  /** Takes what has come in, and what follows from it, into the state and into an entry. */
  #nextEntry(): { readonly entry: JournalEntry; readonly announced: readonly Announcement[] } {
    const { state, plan } = this;
    const before = state.status;
    const events = this.#events;
    const signals = this.#signals;
    this.#events = [];
    this.#signals = [];
    this.#isKept = false;
    for (const event of events) apply(state, event, plan.steps);
    const moment = this.#host.moment();
    const record = (more: readonly SagaEvent[]): void => {
      for (const event of more) apply(state, event, plan.steps);
      events.push(...more);
    };
    for (const { body } of signals) {
      if (body.kind === "deadline") this.deadlineAt = body.at ?? undefined;
      record(answerSignal(state, body, moment));
    }
    // A process that stops begins nothing: the next owner does.
    if (!this.#host.isStopping) {
      if (this.#isOverdue(moment.now)) record([{ type: "deadline-passed" }]);
      // Once more after what the clock adds: an operator's retry is due at once.
      events.push(...proceed(plan, state, moment.now));
      const due = wakeUp(state, moment);
      record(due);
      if (due.length > 0) events.push(...proceed(plan, state, moment.now));
    }
    const start = this.#start;
    this.#start = undefined;
    const announced = this.#host.announce(this, events);
    const entry: JournalEntry = {
      sagaId: this.sagaId,
      n: this.n + 1,
      events: JSON.stringify(events),
      start,
      move: this.#moveAfter(before, moment.now),
      signals: signals.length === 0 ? undefined : signals.map(({ id }) => id),
    };
    return { entry, announced };
  }

  #moveAfter(before: SagaState["status"], now: number): SagaMove | undefined {
    const { status } = this.state;
    const changed = status === before ? undefined : status;
    if (status === "COMPLETED" || status === "COMPENSATED") return { kind: "end", status };
    if (isAtRest(status)) return { kind: "free", status: changed, wakeInMs: undefined };
    const wait = this.#waitMs(now);
    if (wait !== undefined) {
      return { kind: "free", status: changed, wakeInMs: wait === "signal" ? undefined : wait };
    }
    return changed === undefined ? undefined : { kind: "stay", status: changed };
  }

  /** For how long nothing will happen, if that is long enough to let go of it; undefined: it stays. */
  #waitMs(now: number): number | "signal" | undefined {
    if (this.executing.size > 0) return undefined;
    if (this.#host.isStopping) return 0;
    if (this.#hasNews) return undefined;
    for (const step of this.state.steps.values()) if (isToExecute(step)) return undefined;
    const { deadlineAt } = this;
    const untils = [nextDueAt(this.state), this.#isDeadlineAhead ? deadlineAt : undefined];
    const dueAt = Math.min(...untils.filter((until) => until !== undefined));
    if (dueAt === Infinity) return "signal";
    return dueAt - now > holdMs ? dueAt - now : undefined;
  }

  #written(entry: JournalEntry): void {
    this.n = entry.n;
    const { move } = entry;
    if (move?.kind === "end" || move?.kind === "free") {
      this.isDropped = true;
      return this.#host.released(this, entry);
    }
    for (const act of this.#afterwards.splice(0)) act();
    for (const step of this.state.steps.values()) {
      if (!isToExecute(step) || this.#isSettled(step)) continue;
      const isUndo = step.phase === "undoing";
      const mark = markOf(step, isUndo);
      if (this.executing.has(mark)) continue;
      this.executing.add(mark);
      this.#host.attempt(this, step, isUndo);
    }
  }

  /** Its attempt was over before this entry was written: what it came to is in the next one. */
  #isSettled({ plan }: StepState): boolean {
    return this.#events.some((event) => "step" in event && event.step === plan.name);
  }

  /** Comes back when the next wait is over. */
  #arrange(): void {
    const dueAt = nextDueAt(this.state);
    if (dueAt === undefined || this.executing.size > 0 || this.#writing !== undefined) return;
    this.#host.callBack(this, Math.max(1, dueAt - this.#host.moment().now));
  }

  #isOverdue(now: number): boolean {
    return this.#isDeadlineAhead && this.deadlineAt !== undefined && this.deadlineAt <= now;
  }

  /** It has a deadline that is still to change something. */
  get #isDeadlineAhead(): boolean {
    const { deadlineAt, state } = this;
    return deadlineAt !== undefined && state.status === "RUNNING" && state.cancel === undefined;
  }
}

/** What came for a saga from others. */
interface Signal {
  readonly id: number;
  readonly body: SignalBody;
}

/** It has begun, and someone in this process must be at it. */
function isToExecute({ phase, plan }: StepState): boolean {
  if (phase === "running") return plan.action.kind !== "message";
  return phase === "undoing" && plan.compensation?.action.kind !== "message";
}

/** How an attempt is called among those under way. */
export function markOf(step: StepState, isUndo: boolean): string {
  return isUndo ? `-${step.plan.name}` : step.plan.name;
}
