import type { Message } from "./message.ts";

/** Who publishes: a shard of a source, in an epoch. A transport that can, refuses an epoch older than one it has seen. */
export interface Fence {
  readonly source: string;
  readonly shard: number;
  readonly epoch: number;
}

/**
 * What became of one message. `refused`: something is wrong with the message. `unavailable`: nothing is
 * wrong with it, but its topic cannot take it now (it has no leader, is over its quota, is not there
 * yet); the other topics can.
 */
export type PublishOutcome =
  | { readonly kind: "accepted" }
  | { readonly kind: "unavailable"; readonly code: string; readonly error: string }
  | {
      readonly kind: "refused";
      readonly code: string;
      readonly error: string;
      /** Trying again cannot help. */
      readonly isPermanent: boolean;
    };

/**
 * The sending half of a transport. `publish` resolves when every message is durable with the broker, or
 * not taken one by one; outcomes stand in the order of the messages. It rejects when the broker cannot be
 * reached or the outcome is unknown: then nothing is assumed and all are sent again. The signal aborts when
 * nobody waits for the outcome any more: let go of what the call holds. Messages of one key that were
 * accepted are delivered in the order of the batch, and batches in the order of the calls; behind a message
 * that was not accepted, the later ones of its topic and key in the batch are not accepted either.
 *
 * @throws FENCED when a newer epoch of the shard has published
 */
export interface Publisher {
  publish(
    messages: readonly Message[],
    options: { readonly fences: readonly Fence[]; readonly signal: AbortSignal },
  ): Promise<readonly PublishOutcome[]>;
  /** Left out: its broker keeps what it has taken. */
  readonly memory?: BrokerMemory | undefined;
}

/** How far a place of a broker had got; of two marks the later is the greater text. */
export interface Watermark {
  readonly place: string;
  readonly mark: string;
}

/** What a publisher knows of a broker that may lose its memory, to see when it has. */
export interface BrokerMemory {
  /** All that is known of what this source has published. */
  watermarks(source: string): Promise<readonly Watermark[]>;
  /**
   * Takes what a process before this one knew, and asks the broker. Marks of other places are ignored.
   * @throws BROKER_DATA_LOST when the broker has less
   */
  remember(
    source: string,
    known: { readonly incarnation: number; readonly watermarks: readonly Watermark[] },
  ): Promise<void>;
}

/** A message as it came from a transport. */
export interface Delivery {
  readonly message: Message;
  /** Where it stands, as the transport's {@link Subscription.acknowledge} understands it. */
  readonly position: number;
}

/** Messages of one partition, in order. */
export interface PartitionBatch {
  readonly partition: number;
  readonly deliveries: readonly Delivery[];
}

/**
 * The receiving half of a transport: one member of a consumer group. A partition belongs to one member at
 * a time, as far as anyone can know: a member that was frozen may deliver again what another has handled.
 */
export interface Subscription {
  /** What is there now for the partitions that are not in `busy`; what was not acknowledged is delivered again. */
  fetch(options: {
    readonly busy: ReadonlySet<number>;
    readonly maxMessages: number;
    readonly signal: AbortSignal;
  }): Promise<readonly PartitionBatch[]>;
  /** Resolves when there may be something to fetch, after `timeoutMs`, or when the signal aborts. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<"woken" | "timeout">;
  /** The deliveries of a batch are done, up to and including this many. Never called past an unfinished one. */
  acknowledge(batch: PartitionBatch, count: number): Promise<void>;
  /** Leaves the group at once; others take over its partitions. */
  close(): Promise<void>;
}

/** What {@link Transport.subscribe} takes. */
export interface SubscribeOptions {
  /** The consumer group. */
  readonly group: string;
  readonly topics: readonly string[];
  /** Where a group that is new begins. @defaultValue "earliest" */
  readonly from?: "earliest" | "latest";
  /** Of the topics, those whose retry topics are read as well: this group's messages, each when it is due. */
  readonly retried?: readonly string[];
}

/** A message that a consumer group has given up, and why. */
export interface DeadLetterNotice {
  readonly message: Message;
  readonly group: string;
  readonly code: string;
  /** One line; no payload. */
  readonly error: string;
  /** Attempts that failed. */
  readonly attempts: number;
}

/** A message of which an attempt has failed, and that waits for its next one in a retry topic. */
export interface LaterAttempt extends DeadLetterNotice {
  readonly delayMs: number;
}

/**
 * Topics in which failed messages wait for their next attempt, so that neither their key nor their partition
 * waits. A message comes from there as {@link Message.failures} says, to its own group only, not before its
 * delay is over.
 */
export interface RetryTopics {
  /** How long a message waits after its first, second, … failure, in milliseconds; it is given up after one more. */
  readonly delaysMs: readonly number[];
  /** Durable when it resolves; at least once. Rejects while that cannot be said: the message is not done then. */
  send(attempt: LaterAttempt): Promise<void>;
}

/** A way for messages from service to service. */
export interface Transport extends Publisher {
  readonly name: string;
  subscribe(options: SubscribeOptions): Promise<Subscription>;
  /**
   * Leaves a copy of a dead letter where the tools of this transport look for them, at least once. In charge
   * of it is the service's own table, with redrive and discard; when this rejects, the message is not given up
   * yet. Left out: there is no such place.
   */
  leaveDeadLetter?(notice: DeadLetterNotice): Promise<void>;
  /** Left out: it has none, and a handler that asks for `retry: "topics"` is refused. */
  readonly retryTopics?: RetryTopics | undefined;
  /** How long it can deliver a message again, in milliseconds, where that is known: dedup records must be kept longer. */
  readonly retentionMs?: number | undefined;
  /**
   * The same as its topics are set now, asked for at each start; undefined: not known. Rejects when the broker
   * cannot be asked.
   */
  retentionOf?(topics: readonly string[]): Promise<number | undefined>;
  /** Regular care of what it keeps, if it has any; asked for about every hour. Safe in many processes at a time. */
  maintain?(signal: AbortSignal): Promise<void>;
  /** Resolves when the transport can be used; rejects with what is wrong. */
  check(): Promise<void>;
  close(): Promise<void>;
}
