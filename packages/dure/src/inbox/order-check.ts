import type { Message } from "../core/message.ts";

/** What the consumer has seen of its streams' order since it started. A healthy run counts no gaps and no reorders. */
export interface OrderCounts {
  /** Messages that followed the one they link to, or are the first of their stream. */
  readonly verified: number;
  /** The message that this one links to has not been seen (yet). */
  readonly gaps: number;
  /** A message that was missed came after one that follows it. */
  readonly reorders: number;
  /** Delivered again; dropped. */
  readonly duplicates: number;
  /** Cannot be verified: the writer could not link, or the link points before this consumer's time. */
  readonly unverified: number;
}

/** How many missed ids are remembered, to tell a reorder from a gap. */
const missedMax = 10_000;

/** Counts what the links on the wire say about the order of the messages that one consumer receives. */
export class OrderCheck {
  #counts = { verified: 0, gaps: 0, reorders: 0, duplicates: 0, unverified: 0 };
  readonly #missed: Set<string> = new Set();
  readonly #since: number;

  /** `since`: links to messages written before this moment (ms since the epoch) cannot be verified. */
  constructor(since: number) {
    this.#since = since;
  }

  get counts(): OrderCounts {
    return { ...this.#counts };
  }

  /** One batch, in order, with what the inbox said: which ids are fresh and which linked ids it knows. */
  record(
    batch: readonly Message[],
    received: { readonly fresh: ReadonlySet<string>; readonly known: ReadonlySet<string> },
  ): void {
    const inBatch = new Set<string>();
    for (const message of batch) {
      if (received.fresh.has(message.id) && !inBatch.has(message.id))
        this.#recordOne(message, received, inBatch);
      else this.#counts.duplicates += 1;
      inBatch.add(message.id);
    }
  }

  #recordOne(
    message: Message,
    received: { readonly fresh: ReadonlySet<string>; readonly known: ReadonlySet<string> },
    earlier: ReadonlySet<string>,
  ): void {
    if (this.#missed.delete(message.id)) {
      this.#counts.gaps -= 1;
      this.#counts.reorders += 1;
    }
    const { link } = message;
    if (link.kind === "unverified") this.#counts.unverified += 1;
    else if (link.kind === "first") this.#counts.verified += 1;
    else if (earlier.has(link.previousId)) this.#counts.verified += 1;
    // Known, but not because this very batch brings it later.
    else if (received.known.has(link.previousId) && !received.fresh.has(link.previousId)) {
      this.#counts.verified += 1;
    } else if (Date.parse(link.previousAt) < this.#since) this.#counts.unverified += 1;
    else {
      this.#counts.gaps += 1;
      if (this.#missed.size < missedMax) this.#missed.add(link.previousId);
    }
  }
}
