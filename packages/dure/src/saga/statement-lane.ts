import type { Clock } from "../core/clock.ts";
import type { Statement } from "../core/transaction.ts";
import type { JournalEntry, SagaStore } from "./saga-store.ts";

/** What committing statements together needs. */
export interface StatementLaneParts {
  readonly store: Pick<SagaStore, "recordStatement" | "recordStatements" | "lockWaitStatement">;
  readonly process: number;
  /** Numbers of batches, never given twice by this process. */
  readonly nextBatch: () => number;
  readonly runStatements: (statements: readonly Statement[]) => Promise<void>;
  readonly clock: Clock;
}

interface Waiting {
  readonly entry: JournalEntry;
  readonly statement: Statement;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const togetherMax = 100;
/** Longer than this nobody's statement waits for the lock that another one's needs. */
const lockWaitMsMax = 50;
/** After a batch has failed, each goes alone for this long. */
const aloneMs = 500;

/**
 * Group commit for steps that are one statement: what gathers while a batch commits goes together with the
 * next, each statement with its saga's entry, in one transaction. When anything fails, or waits for a lock,
 * nothing has happened, and each goes alone: what is wrong with one is no other's business. A batch in doubt
 * goes alone too: whose entry is there already has happened, and is refused there.
 *
 * One batch at a time, so that two of a process never wait for each other's rows.
 */
export class StatementLane {
  readonly #parts: StatementLaneParts;
  #waiting: Waiting[] = [];
  #isBusy = false;
  #aloneUntil = 0;

  constructor(parts: StatementLaneParts) {
    this.#parts = parts;
  }

  /** Resolves when the statement and the entry have committed; rejects when neither has, or that is in doubt. */
  append(entry: JournalEntry, statement: Statement): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, statement, resolve, reject });
      this.#pumpSoon();
    });
  }

  /** After everything that is to be done at once, so that what becomes ready together is written together. */
  #pumpSoon(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    setImmediate(() => {
      const batch = this.#waiting.slice(0, togetherMax);
      this.#waiting = this.#waiting.slice(togetherMax);
      void this.#write(batch).finally(() => {
        this.#isBusy = false;
        if (this.#waiting.length > 0) this.#pumpSoon();
      });
    });
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { store, process, nextBatch, runStatements, clock } = this.#parts;
    const isAlone = batch.length === 1 || clock.monotonic() < this.#aloneUntil;
    if (!isAlone) {
      const entries = batch.map(({ entry }) => entry);
      try {
        await runStatements([
          store.lockWaitStatement(lockWaitMsMax),
          ...batch.map(({ statement }) => statement),
          store.recordStatements(process, nextBatch(), entries),
        ]);
        for (const { resolve } of batch) resolve();
        return;
      } catch {
        // Each says for itself what was wrong. Meanwhile the next ones do not run into the same again.
        this.#aloneUntil = clock.monotonic() + aloneMs;
      }
    }
    // Not waited for: one that waits for a lock holds nobody up.
    for (const waiting of batch) void this.#writeAlone(waiting);
  }

  async #writeAlone({ entry, statement, resolve, reject }: Waiting): Promise<void> {
    const { store, process, nextBatch, runStatements } = this.#parts;
    try {
      await runStatements([statement, store.recordStatement(process, nextBatch(), entry)]);
      resolve();
    } catch (error) {
      reject(error);
    }
  }
}
