import type { MessageContext, Message } from "../core/message.ts";
import type { ParkRequest } from "../core/parking.ts";
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
}

/** What a relay asks of one shard: what has appeared in its gaps, and what stands above its head. */
export interface ReadRequest {
  readonly shard: number;
  readonly gaps: readonly Range[];
  readonly head: number;
}

/** What a relay records of one shard. */
export interface ShardAdvance extends ShardCursor {
  readonly epoch: number;
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
  /** Records progress, parks and resolves, in one transaction. Returns the shards that are not the caller's any more. */
  advance(
    memberId: string,
    advances: readonly ShardAdvance[],
    parked: readonly ParkRequest[],
    resolved: readonly string[],
  ): Promise<readonly number[]>;
  /** The keys (`topic` U+001F `key`) of the source that wait behind a failed message. */
  parkedKeys(source: string): Promise<ReadonlySet<string>>;
}
