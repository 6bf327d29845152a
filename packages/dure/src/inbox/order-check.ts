import type { Message } from "../core/message.ts";
import type { Received } from "./inbox-store.ts";

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
  /** Came in the place of events that were given up before they were published. */
  readonly tombstones: number;
  /** Sent again by an operator, in their place or after it: their order says nothing. */
  readonly redriven: number;
}

/** How many missed ids are remembered, to tell a reorder from a gap. */
const missedMax = 10_000;

type ReceivedIds = Pick<Received, "fresh" | "known" | "tombstoned">;

/** Counts what the links on the wire say about the order of the messages that one consumer receives. */
export class OrderCheck {
  readonly #counts: { -readonly [Name in keyof OrderCounts]: number } = {
    verified: 0,
    gaps: 0,
    reorders: 0,
    duplicates: 0,
    unverified: 0,
    tombstones: 0,
    redriven: 0,
  };
  readonly #missed: Set<string> = new Set();
  readonly #since: number;

  /** `since`: links to messages written before this moment (ms since the epoch) cannot be verified. */
  constructor(since: number) {
    this.#since = since;
  }

  get counts(): OrderCounts {
    return { ...this.#counts };
  }

  /** One batch, in order, with what the inbox said of it. */
  record(batch: readonly Message[], received: ReceivedIds): void {
    /** Ids of the batch so far, and those of them that came as events. */
    const earlier = new Set<string>();
    const events = new Set<string>();
    for (const message of batch) {
      // From a retry topic: its order was counted when it came in its place.
      if (message.failures !== undefined && received.fresh.has(message.id)) {
        earlier.add(message.id);
        continue;
      }
      if (isNew(message, received, earlier, events)) this.#recordOne(message, received, earlier);
      else this.#counts.duplicates += 1;
      earlier.add(message.id);
      if (message.tombstone !== true) events.add(message.id);
    }
  }

  #recordOne(message: Message, received: ReceivedIds, earlier: ReadonlySet<string>): void {
    const wasMissed = this.#missed.delete(message.id);
    if (wasMissed) this.#counts.gaps -= 1;
    if (message.redriven === true) {
      this.#counts.redriven += 1;
      return;
    }
    if (wasMissed) this.#counts.reorders += 1;
    const verdict = this.#verdictOn(message, received, earlier);
    if (verdict === "gaps" && message.link.kind === "after") {
      if (this.#missed.size < missedMax) this.#missed.add(message.link.previousId);
    }
    if (message.tombstone === true) this.#counts.tombstones += 1;
    if (message.tombstone !== true || verdict !== "verified") this.#counts[verdict] += 1;
  }

  #verdictOn(
    { link }: Message,
    { fresh, tombstoned, known }: ReceivedIds,
    earlier: ReadonlySet<string>,
  ): "verified" | "unverified" | "gaps" {
    if (link.kind === "unverified") return "unverified";
    if (link.kind === "first" || earlier.has(link.previousId)) return "verified";
    // Known, but not because this very batch brings it later.
    const isOfBatch = fresh.has(link.previousId) || tombstoned.has(link.previousId);
    if (known.has(link.previousId) && !isOfBatch) return "verified";
    return Date.parse(link.previousAt) < this.#since ? "unverified" : "gaps";
  }
}

/** A tombstone is new where nothing of its id has come, an event where no event of its id has. */
function isNew(
  message: Message,
  { fresh, tombstoned }: ReceivedIds,
  earlier: ReadonlySet<string>,
  events: ReadonlySet<string>,
): boolean {
  if (message.tombstone !== true) return fresh.has(message.id) && !events.has(message.id);
  return (tombstoned.has(message.id) || fresh.has(message.id)) && !earlier.has(message.id);
}
