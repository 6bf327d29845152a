import { FedOutbox } from "../outbox/fed-outbox.ts";
import type { FedRelay, FeedParts } from "../outbox/outbox-feed.ts";
import type { OutboxStore, StoredMessage } from "../outbox/outbox-store.ts";
import type { PostgresPool } from "./pool.ts";
import type { WalOptions } from "./wal-options.ts";
import type { WalSql } from "./wal-sql.ts";
import { logPosition, WalStream } from "./wal-stream.ts";

/** What one reading is made of. */
export interface WalReadingParts {
  readonly pool: PostgresPool;
  readonly store: OutboxStore;
  readonly options: WalOptions;
  readonly sql: WalSql;
  readonly feed: FeedParts;
  readonly slot: string;
  readonly publication: string;
}

/** How long a look waits for the log to come as far as it reached when the look began. */
const reachMsMax = 20;
/** A log that was not written out for so long is written out by a commit of our own. */
const flushAfterMs = 250;
const acknowledgeEveryMs = 1_000;

/** One reading of the slot, and the relay that lives on it. */
export class WalReading {
  readonly #parts: WalReadingParts;
  readonly #outbox: FedOutbox;
  #stream: WalStream | undefined;
  #relay: FedRelay | undefined;
  #timer: NodeJS.Timeout | undefined;
  #acknowledged = 0n;
  #progress: AbortController = new AbortController();
  /** Since when the log has been unwritten behind the place that a look waits for. */
  #waitingSince: number | undefined;

  constructor(parts: WalReadingParts) {
    this.#parts = parts;
    this.#outbox = new FedOutbox({
      store: parts.store,
      logEnd: () => this.#logEnd(),
      reach: (position) => this.#reach(position),
      onSettled: () => this.#settled(),
    });
  }

  get ended(): Promise<never> {
    if (this.#stream === undefined) throw new Error("not open");
    return this.#stream.ended;
  }

  async open(signal: AbortSignal): Promise<void> {
    const { options, slot, publication, feed } = this.#parts;
    const stream = await WalStream.open({
      client: options.connect(),
      decoder: options.decoder({
        protoVersion: 1,
        publicationNames: [publication],
        messages: true,
      }),
      slot,
      clock: feed.clock,
      listener: {
        begin: () => this.#outbox.begin(),
        event: (stored) => this.#event(stored),
        commit: (end) => this.#advanced(() => this.#outbox.end(end), true),
        idle: (position) => this.#advanced(() => this.#outbox.idle(position), false),
      },
    });
    this.#stream = stream;
    this.#timer = setInterval(() => this.#acknowledge(true), acknowledgeEveryMs);
    this.#relay = feed.relay(this.#outbox.store, signal);
    this.#relay.wake();
  }

  #event(stored: StoredMessage): void {
    const { eventsMax = 20_000 } = this.#parts.options;
    this.#outbox.add(stored);
    const stream = this.#stream;
    if (stream?.isPaused === false && this.#outbox.size >= eventsMax) {
      stream.pause();
      // Events of a transaction that is not told to its end are committed all the same.
      this.#relay?.wake();
    }
  }

  #advanced(tell: () => void, hasNews: boolean): void {
    tell();
    this.#progress.abort();
    if (hasNews) this.#relay?.wake();
    else this.#acknowledge(false);
  }

  /** The relay has recorded something. */
  #settled(): void {
    const { eventsMax = 20_000 } = this.#parts.options;
    if (this.#stream?.isPaused === true && this.#outbox.size < eventsMax / 2) this.#stream.resume();
    this.#acknowledge(false);
  }

  /** `isSignOfLife`: also where there is nothing new to say. */
  #acknowledge(isSignOfLife: boolean): void {
    const { acknowledged } = this.#outbox;
    if (acknowledged === 0n || (!isSignOfLife && acknowledged === this.#acknowledged)) return;
    this.#acknowledged = acknowledged;
    this.#stream?.acknowledge(acknowledged);
  }

  async #logEnd(): Promise<bigint> {
    const { pool, sql } = this.#parts;
    const { rows } = await pool.query(sql.logEnd);
    const end = logPosition(String(rows[0]?.["lsn"]));
    const intoPage = end % BigInt(Number(rows[0]?.["block_size"]));
    // A place right behind a page's header: what was written last ended before the page.
    return intoPage === 24n || intoPage === 40n ? end - intoPage : end;
  }

  async #reach(position: bigint): Promise<bigint> {
    const { feed, pool, sql } = this.#parts;
    const { clock } = feed;
    const until = clock.monotonic() + reachMsMax;
    while (this.#outbox.received < position && clock.monotonic() < until) {
      this.#progress = new AbortController();
      this.#stream?.acknowledge(this.#acknowledged, { isAsking: true });
      await clock.sleep(Math.max(1, until - clock.monotonic()), this.#progress.signal);
    }
    const { received } = this.#outbox;
    if (received >= position) this.#waitingSince = undefined;
    else this.#waitingSince ??= clock.monotonic();
    if (this.#waitingSince !== undefined && clock.monotonic() - this.#waitingSince > flushAfterMs) {
      this.#waitingSince = undefined;
      await pool.query(sql.flushLog);
    }
    return received;
  }

  async close(): Promise<void> {
    await this.#relay?.done;
    clearInterval(this.#timer);
    this.#acknowledge(true);
    await this.#stream?.close();
  }
}
