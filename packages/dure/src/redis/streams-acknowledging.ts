import type { Clock } from "../core/clock.ts";
import type { Trouble } from "../core/trouble.ts";
import { redisEval } from "./redis-client.ts";
import type { RedisClient } from "./redis-client.ts";
import { acknowledge } from "./streams-lua.ts";

/** What acknowledging is made of. */
export interface AcknowledgingParts {
  readonly client: RedisClient;
  readonly group: string;
  readonly retentionMs: number;
  readonly commandMsMax: number;
  readonly clock: Clock;
  readonly trouble: Trouble;
  readonly signal: AbortSignal;
}

/** Acknowledgements of several batches go together: they only save a repetition. */
const flushPauseMs = 20;

/** Tells Redis what is done, a little later; what it does not hear of is delivered again. */
export class StreamsAcknowledging {
  readonly #parts: AcknowledgingParts;
  /** Done here, and not yet told, by stream. */
  readonly #untold: Map<string, Set<string>> = new Map();
  #telling: Promise<void> = Promise.resolve();
  #isTelling = false;

  constructor(parts: AcknowledgingParts) {
    this.#parts = parts;
  }

  add(stream: string, id: string): void {
    const ids = this.#untold.get(stream) ?? new Set();
    this.#untold.set(stream, ids.add(id));
  }

  /** Whether an entry is done, though Redis may not know. */
  has(stream: string, id: string): boolean {
    return this.#untold.get(stream)?.has(id) === true;
  }

  /** Redis has lost the entries. */
  forget(): void {
    this.#untold.clear();
  }

  /** Not awaited: the effects are committed. */
  tellSoon(): void {
    if (this.#isTelling || this.#untold.size === 0) return;
    this.#isTelling = true;
    this.#telling = this.#tellAll();
  }

  async #tellAll(): Promise<void> {
    const { clock, signal, trouble } = this.#parts;
    try {
      while (this.#untold.size > 0) {
        await this.tell();
        trouble.succeeded();
        await clock.sleep(flushPauseMs, signal);
      }
    } catch (error) {
      // Kept for the next heartbeat.
      trouble.failed(error);
    } finally {
      this.#isTelling = false;
    }
  }

  /** Tells what there is now. */
  async tell(): Promise<void> {
    const { client, group, retentionMs, commandMsMax } = this.#parts;
    const told = [...this.#untold].map(([key, ids]) => ({ key, ids: [...ids] }));
    if (told.length === 0) return;
    const keys = told.map(({ key }) => key);
    const counted = told.flatMap(({ ids }) => [`${ids.length}`, ...ids]);
    const args = [group, `${retentionMs}`, ...counted];
    await redisEval(client, acknowledge, { keys, args }, { timeoutMs: commandMsMax });
    for (const { key, ids } of told) {
      const rest = this.#untold.get(key);
      for (const id of ids) rest?.delete(id);
      if (rest?.size === 0) this.#untold.delete(key);
    }
  }

  /** Waits for what is under way, and tells the rest. */
  async close(): Promise<void> {
    await this.#telling;
    await this.tell();
  }
}
