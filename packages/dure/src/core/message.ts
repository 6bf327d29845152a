/**
 * A message as it travels: the attributes of CloudEvents 1.0 with ours beside them. `data` is JSON text
 * and is carried byte for byte; nobody between writer and handler parses it.
 */
export interface Message {
  /** Unique for the source. A message that is published again, parked or redriven keeps it. */
  readonly id: string;
  /** The service that wrote it. */
  readonly source: string;
  readonly topic: string;
  /** Messages of one (source, topic, key) are delivered in the order in which their transactions committed. */
  readonly key: string;
  readonly type: string;
  /** The version of the type's contract, from 1. */
  readonly version: number;
  /** When it was written: the database's clock, ISO 8601. */
  readonly time: string;
  /** JSON text. */
  readonly data: string;
  /** The stream's previous message, by which the consumer verifies the order. */
  readonly link: MessageLink;
  /**
   * From 1; raised in the source each time that its outbox was mended after a set-back. A message that comes
   * again under a higher one was sent again by that repair. Absent: written before there was such a number.
   */
  readonly incarnation?: number | undefined;
  /** W3C trace context of the writer. */
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
  /** The business action that this belongs to; handed on from cause to effect. */
  readonly correlationId?: string | undefined;
  /** The id of the message that caused this one. */
  readonly causationId?: string | undefined;
  /**
   * True: this stands in the place of an event that was given up before it was published, with its id and
   * link and without its content (type `dure.tombstone`, data `null`). It keeps the stream's links whole
   * and is for no handler; the event itself may still come, redriven, under the same id.
   */
  readonly tombstone?: boolean | undefined;
  /** True: an operator has sent it again, so it may come after messages that follow it. */
  readonly redriven?: boolean | undefined;
  /**
   * Attempts of this consumer group that have failed, where the message comes from a retry topic: those that
   * follow it in its key may have been handled. Absent: it comes in its place.
   */
  readonly failures?: number | undefined;
}

/**
 * How a message follows the one before it in its stream (source, topic, key): `first`: the writer found
 * none; `after`: it follows `previousId`, written at `previousAt`; `unverified`: the writer could not
 * look (its transaction was not READ COMMITTED).
 */
export type MessageLink =
  | { readonly kind: "first" }
  | { readonly kind: "after"; readonly previousId: string; readonly previousAt: string }
  | { readonly kind: "unverified" };

/** What ties a new message to what caused it. */
export interface MessageContext {
  readonly correlationId?: string | undefined;
  readonly causationId?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
}

/** A message's key within its topic, as the stores name it: `topic` U+001F `key`. */
export function keyOf(message: Pick<Message, "topic" | "key">): string {
  return `${message.topic}\u001f${message.key}`;
}
