import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { isDureError } from "../core/errors.ts";
import type { Trouble } from "../core/trouble.ts";
import type { JournalEntry, SagaStore } from "./saga-store.ts";

/** What writing the journal needs. */
export interface LaneParts {
  readonly store: Pick<SagaStore, "record" | "recordSoon">;
  readonly process: number;
  /** Numbers of batches, never given twice by this process. */
  readonly nextBatch: () => number;
  readonly clock: Clock;
  readonly trouble: Trouble;
  /** Aborts when the process no longer drives sagas: what is not written by then never is. */
  readonly signal: AbortSignal;
  /** The process has been fenced. */
  readonly onFenced: (error: unknown) => void;
}

interface Waiting {
  readonly entry: JournalEntry;
  readonly settle: (isTaken: boolean) => void;
}

const lanes = 2;
/** Starts whose ids a user's transaction has in its hands wait here, so many at a time, each for a moment. */
const asideMax = 2;
const asidePauseMs = 50;
const entriesMax = 2_000;
const charactersMax = 4_000_000;

/**
 * Group commit without a timer: the entries of all sagas of a process gather while a batch is being written,
 * and go together with the next one. Two lanes, so that one gathers while the other commits. Entries of one
 * saga never wait together: its next one is made when the last has been written.
 *
 * A batch with a start waits for nobody's lock: where it would have to, its starts go apart, each alone, and the
 * rest at once. A user's open transaction that has started a saga holds up that saga only.
 *
 * A batch whose COMMIT is in doubt is written again under its own number until there is an answer; until
 * then nothing of it is acted upon.
 */
export class JournalLanes {
  readonly #parts: LaneParts;
  #waiting: Waiting[] = [];
  #free = lanes;
  readonly #aside: Waiting[] = [];
  #asideFree = asideMax;
  #isDue = false;

  constructor(parts: LaneParts) {
    this.#parts = parts;
  }

  /** Resolves to whether the entry was taken, and never if the process is lost before that is known. */
  append(entry: JournalEntry): Promise<boolean> {
    return new Promise((settle) => {
      this.#waiting.push({ entry, settle });
      this.#pumpSoon();
    });
  }

  /** After everything that is to be done at once, so that what becomes ready together is written together. */
  #pumpSoon(): void {
    if (this.#isDue || this.#free === 0) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#free > 0 && this.#waiting.length > 0) {
      this.#free -= 1;
      void this.#write(this.#take()).finally(() => {
        this.#free += 1;
        this.#pumpSoon();
      });
    }
  }

  #take(): readonly Waiting[] {
    let characters = 0;
    const count = this.#waiting.findIndex(({ entry }, index) => {
      characters += entry.events.length + (entry.start?.input.length ?? 0);
      return index > 0 && (index === entriesMax || characters > charactersMax);
    });
    const taken = count === -1 ? this.#waiting : this.#waiting.slice(0, count);
    this.#waiting = count === -1 ? [] : this.#waiting.slice(count);
    return taken;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { store, process, clock, trouble, signal, onFenced } = this.#parts;
    const number = this.#parts.nextBatch();
    const entries = batch.map(({ entry }) => entry);
    const hasStart = entries.some(({ start }) => start !== undefined);
    for (let failures = 0; !signal.aborted;) {
      try {
        // Only at first: one in doubt may wait for its own first attempt.
        const refused = await (hasStart && failures === 0
          ? store.recordSoon(process, number, entries)
          : store.record(process, number, entries));
        trouble.succeeded();
        if (refused === undefined) return await this.#writeApart(batch);
        for (const { entry, settle } of batch) settle(!refused.has(entry.sagaId));
        return;
      } catch (error) {
        if (isDureError(error, "FENCED")) return onFenced(error);
        failures += 1;
        trouble.failed(error);
        await clock.sleep(backoffMs(failures, { baseMs: 20, maxMs: 1_000 }, clock), signal);
      }
    }
  }

  /** Nothing of it was written. Whose start it was that waited nobody knows: each goes alone. */
  async #writeApart(batch: readonly Waiting[]): Promise<void> {
    const starts = batch.filter(({ entry }) => entry.start !== undefined);
    const others = batch.filter(({ entry }) => entry.start === undefined);
    if (batch.length === 1) await this.#parts.clock.sleep(asidePauseMs, this.#parts.signal);
    this.#aside.push(...starts);
    this.#pumpAside();
    if (others.length > 0) await this.#write(others);
  }

  #pumpAside(): void {
    while (this.#asideFree > 0) {
      const next = this.#aside.shift();
      if (next === undefined) return;
      this.#asideFree -= 1;
      void this.#write([next]).finally(() => {
        this.#asideFree += 1;
        this.#pumpAside();
      });
    }
  }
}
