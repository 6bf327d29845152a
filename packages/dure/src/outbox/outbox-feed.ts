import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import type { OutboxStore } from "./outbox-store.ts";

/** A relay that a feed has started. */
export interface FedRelay {
  /** There may be something to publish. */
  wake(): void;
  /** Resolves when it has handed everything back. Never rejects. */
  readonly done: Promise<void>;
}

/** What a feed is given to work with. */
export interface FeedParts {
  readonly source: string;
  /** After this long without a sign of life another process takes the feed over. Milliseconds. */
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Starts a relay that reads this outbox, until the signal aborts. */
  readonly relay: (outbox: OutboxStore, signal: AbortSignal) => FedRelay;
}

/**
 * A way by which committed events come to the relay, so that it need not look for them. One process at a time
 * holds the feed and relays; the others of the service stand by and take over when its lease has run out.
 */
export interface OutboxFeed {
  /** Resolves when whatever is committed from now on will come; rejects with what is wrong with the server's settings or rights. */
  prepare(): Promise<void>;
  /** Relays what the feed brings whenever this process holds it, until the signal aborts. Never rejects. */
  run(parts: FeedParts, signal: AbortSignal): Promise<void>;
}
