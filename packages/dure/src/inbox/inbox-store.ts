import type { Message } from "../core/message.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** What the inbox says of a batch, in the transaction that will handle it. */
export interface Received {
  /** The ids that this consumer had never seen: their dedup records were written just now. */
  readonly fresh: ReadonlySet<string>;
  /** The keys (`topic` U+001F `key`) of the batch that wait behind a failed message. */
  readonly parkedKeys: ReadonlySet<string>;
  /** Of the ids that the batch links to, those that this consumer has seen. */
  readonly known: ReadonlySet<string>;
}

/**
 * The inbox's table. `receive` writes the dedup records of the batch in the caller's transaction, and waits
 * for a rival's transaction that has written one of them; only after that it looks for parked keys, so that
 * it sees what the rival has parked.
 */
export interface InboxStore {
  receive(tx: TransactionHandle, consumer: string, batch: readonly Message[]): Promise<Received>;
  /**
   * Writes down that this batch is begun, unless some of it was begun before and has not ended: then it
   * writes nothing and resolves to false. Durable when it resolves.
   */
  beginBatch(consumer: string, messageIds: readonly string[]): Promise<boolean>;
  /** Durable when it resolves: how often this message was begun, this time included, since it last ended. */
  beginAttempt(consumer: string, messageId: string): Promise<number>;
  /** The attempts have ended, however: the process lives. */
  endAttempts(consumer: string, messageIds: readonly string[]): Promise<void>;
}
