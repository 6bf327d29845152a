import type { Watermark } from "../core/transport.ts";
import type { MessageContext, Message } from "../core/message.ts";
import type { DueMessage, Failure, ParkRequest } from "../core/parking.ts";
import type { Statement, TransactionHandle } from "../core/transaction.ts";
import type { Range } from "./shard-progress.ts";

/** An event that was checked and is ready to be written. */
export interface PreparedEvent {
  readonly id: string;
  readonly topic: string;
  readonly key: string;
  readonly type: string;
  readonly version: number;
  /** JSON text. */
  readonly data: string;
  readonly context: MessageContext | undefined;
}

/** A message as it stands in the outbox. */
export interface StoredMessage {
  readonly shard: number;
  readonly position: number;
  readonly message: Message;
}

/** A shard that this relay owns. */
export interface ShardClaim {
  readonly shard: number;
  /** The fencing token of this ownership. */
  readonly epoch: number;
  /** Beyond the fair share: to be released when nothing of it is in flight. */
  readonly isSurplus: boolean;
}

/** How far a shard is published, as it was last written. */
export interface ShardCursor {
  readonly shard: number;
  readonly low: number;
  readonly done: readonly Range[];
  /** Counts the records. */
  readonly n: number;
}

/** As {@link ShardCursor}, with what the store can tell of the shard's sequence besides. */
export interface FoundCursor extends ShardCursor {
  /** There are traces of a sequence that was set back and has run past what is published since. */
  readonly isSetBack: boolean;
}

/** How the outbox as a whole stands. */
export interface OutboxPositions {
  /** The last position drawn in each shard, by shard number. Not transactional: it may be uncommitted. */
  readonly last: readonly number[];
  /** Raised by each rebase: what was known of the shards before is void. */
  readonly incarnation: number;
  /** An operator has paused all relays. */
  readonly isPaused: boolean;
  /** Events may stand where only a feed brings them from: whoever reads the table alone would miss them. */
  readonly needsFeed: boolean;
}

/** What a relay asks of one shard: what has appeared in its gaps, and what stands above its head. */
export interface ReadRequest {
  readonly shard: number;
  readonly gaps: readonly Range[];
  readonly head: number;
}

/** What a relay records of one shard. */
export type ShardAdvance = ShardCursor;

/** A parked message with which a further attempt failed. */
export interface FailedAttempt {
  readonly id: string;
  readonly shard: number;
  readonly failure: Failure;
  /** If it is a dead letter now, its key goes on, and a tombstone takes its place. */
  readonly skips: boolean;
}

/** What became of messages that were, or are now to be, parked. */
export interface Settlement {
  /** In order per key. */
  readonly parked: readonly ParkRequest[];
  /** The ids of due messages that got done: the next of their keys comes. */
  readonly resolved: readonly string[];
  readonly failed: readonly FailedAttempt[];
}

/** Which parked messages a relay wants to send again. */
export interface DueRequest {
  readonly source: string;
  readonly shards: readonly number[];
  /** Topics that are left alone. */
  readonly closedTopics: readonly string[];
  /** Topics of which one message is wanted, to see whether they take it. */
  readonly probedTopics: readonly string[];
  /** How many messages at most, about. */
  readonly limit: number;
}

/** Who records, and the shards that it believes to be its own. */
export interface RecordingMember {
  readonly id: string;
  readonly source: string;
  readonly shards: readonly { readonly shard: number; readonly epoch: number }[];
}

/**
 * The outbox's tables. Implementations keep these promises:
 * - `append` writes in the caller's transaction, and refuses a handle that is in none. For each key the order of positions is the order of commits.
 * - A writer holds a lock that `writers` shows from before it draws a position until it has committed or
 *   rolled back, and what it committed is visible before the lock goes.
 * - `advance` is refused, shard by shard, to whoever no longer owns the shard; a take-over waits for one
 *   that is under way.
 */
export interface OutboxStore {
  append(tx: TransactionHandle, source: string, events: readonly PreparedEvent[]): Promise<void>;
  /** The same as a statement, for whoever sees to it that it runs inside a transaction. */
  appendStatement(source: string, events: readonly PreparedEvent[]): Statement;
  /** Renews the relay's lease and takes its share of shards. Undefined: its lease had run out. */
  heartbeat(member: {
    readonly id: string;
    readonly leaseMs: number;
    readonly isJoining: boolean;
  }): Promise<readonly ShardClaim[] | undefined>;
  /** Gives shards back; all of them and the membership when `isLeaving`. */
  release(member: {
    readonly id: string;
    readonly shards: readonly number[];
    readonly isLeaving: boolean;
  }): Promise<void>;
  /** One for each of the shards, also for those of which nothing was recorded yet. */
  cursors(shards: readonly number[]): Promise<readonly FoundCursor[]>;
  positions(): Promise<OutboxPositions>;
  /** The transactions that may still commit a position, per shard. */
  writers(shards: readonly number[]): Promise<ReadonlyMap<number, ReadonlySet<string>>>;
  /** At most `limit` messages per shard, in order of position, seen in one snapshot. */
  read(requests: readonly ReadRequest[], limit: number): Promise<readonly StoredMessage[]>;
  /**
   * Records progress and what became of parked messages, in one transaction. Returns the shards that are not
   * the caller's any more, of which nothing was recorded.
   */
  advance(
    member: RecordingMember,
    advances: readonly ShardAdvance[],
    settlement: Settlement,
  ): Promise<readonly number[]>;
  /** Keeps marks, the greater of two; those of a newer incarnation replace older ones. Durable when it resolves. */
  mark(incarnation: number, watermarks: readonly Watermark[]): Promise<void>;
  /** The marks of this incarnation. */
  watermarks(incarnation: number): Promise<readonly Watermark[]>;
  /** At most `limit` of the keys (`topic` U+001F `key`) of the source that wait behind a parked message. */
  parkedKeys(source: string, limit: number): Promise<ReadonlySet<string>>;
  /** Of the keys of these messages, those that wait behind a parked message of the source. */
  parkedAmong(
    source: string,
    messages: readonly Pick<Message, "topic" | "key">[],
  ): Promise<ReadonlySet<string>>;
  /**
   * Parked messages that are to be sent now: fairly by topic, in order per key, and with the first of a key
   * that has not failed some of those behind it. What it costs does not grow with what is parked.
   */
  due(request: DueRequest): Promise<readonly DueMessage[]>;
}
