import type { Clock } from "../core/clock.ts";
import type { Settlement, ShardAdvance } from "./outbox-store.ts";

/** What a relay's recording is made of. */
export interface RecordingParts {
  readonly clock: Clock;
  /** Writes progress, and what a tick has settled besides, in one transaction. */
  readonly write: (advances: readonly ShardAdvance[], settlement: Settlement) => Promise<void>;
  /** A record has failed: ask {@link RelayRecording.settled} soon, which says how. */
  readonly onFailed: () => void;
}

/** The shortest time between two records of progress alone: it says what need not be sent again, and no more. */
const pauseMs = 10;
const nothing: Settlement = { parked: [], resolved: [], failed: [] };

/**
 * Progress that is written down while the next events are already read and sent. A shard's newest progress
 * contains all before it, so several ticks share a record. What dies unrecorded is sent again by the next
 * owner, as after any crash.
 */
export class RelayRecording {
  readonly #parts: RecordingParts;
  readonly #pending: Map<number, ShardAdvance> = new Map();
  #running: Promise<void> | undefined;
  #hurry: AbortController = new AbortController();
  #hasFailed = false;

  constructor(parts: RecordingParts) {
    this.#parts = parts;
  }

  /** The last record has failed, and nobody has been told yet. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Takes progress to be recorded within a moment. */
  add(advances: readonly ShardAdvance[]): void {
    for (const advance of advances) this.#pending.set(advance.shard, advance);
    if (this.#pending.size > 0 && this.#running === undefined) this.#run(this.#writePending());
  }

  /**
   * Begins to record this, in one transaction and with what is pending, when the record before is written.
   * @throws what that one failed with
   */
  async begin(advances: readonly ShardAdvance[], settlement: Settlement): Promise<void> {
    await this.settled();
    for (const advance of advances) this.#pending.set(advance.shard, advance);
    this.#run(this.#parts.write(this.#take(), settlement));
  }

  /** Resolves when all that was added is written. @throws what the last record failed with, once */
  async settled(): Promise<void> {
    this.#hurry.abort();
    const running = this.#running;
    try {
      await running;
    } finally {
      if (this.#running === running) {
        this.#running = undefined;
        this.#hasFailed = false;
      }
    }
  }

  /** What is pending is not to be recorded any more: it will be sent again. */
  forget(): void {
    this.#pending.clear();
  }

  #run(running: Promise<void>): void {
    this.#running = running;
    running.then(
      () => {
        if (this.#running !== running) return;
        this.#running = undefined;
        // What was added while this was written.
        this.add([]);
      },
      () => {
        this.#hasFailed = true;
        this.#parts.onFailed();
      },
    );
  }

  async #writePending(): Promise<void> {
    const { clock, write } = this.#parts;
    this.#hurry = new AbortController();
    while (this.#pending.size > 0) {
      await write(this.#take(), nothing);
      await clock.sleep(pauseMs, this.#hurry.signal);
    }
  }

  #take(): readonly ShardAdvance[] {
    const advances = [...this.#pending.values()];
    this.#pending.clear();
    return advances;
  }
}
