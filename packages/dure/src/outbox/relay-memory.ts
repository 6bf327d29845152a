import type { BrokerMemory } from "../core/transport.ts";
import type { OutboxStore } from "./outbox-store.ts";

/**
 * What the publisher knows of its broker's memory, kept in the outbox's database: so that a loss is seen also when
 * the process that had published has died with the broker.
 */
export class RelayMemory {
  readonly #memory: BrokerMemory;
  readonly #source: string;
  readonly #outbox: Pick<OutboxStore, "mark" | "watermarks">;
  /** What is kept, as far as this process has seen to it. */
  #kept: ReadonlyMap<string, string> = new Map();
  #isRestored = false;

  constructor(
    memory: BrokerMemory,
    parts: {
      readonly source: string;
      readonly outbox: Pick<OutboxStore, "mark" | "watermarks">;
    },
  ) {
    this.#memory = memory;
    this.#source = parts.source;
    this.#outbox = parts.outbox;
  }

  /** At the start: @throws BROKER_DATA_LOST when the broker has less than was kept, until a repair raises the incarnation */
  async restore(incarnation: number): Promise<void> {
    this.#kept = new Map();
    if (this.#isRestored) return;
    const watermarks = await this.#outbox.watermarks(incarnation);
    await this.#memory.remember(this.#source, { incarnation, watermarks });
    this.#isRestored = true;
  }

  /** Keeps what has changed. @throws what the database says: then the progress is not recorded either */
  async keep(incarnation: number): Promise<void> {
    const known = await this.#memory.watermarks(this.#source);
    const changed = known.filter(({ place, mark }) => this.#kept.get(place) !== mark);
    if (changed.length === 0) return;
    await this.#outbox.mark(incarnation, changed);
    this.#kept = new Map(known.map(({ place, mark }) => [place, mark]));
  }
}
