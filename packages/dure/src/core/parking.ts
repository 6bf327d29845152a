import type { Message } from "./message.ts";
import type { TransactionHandle } from "./transaction.ts";

/** Who could not get a message done: the relay (publish it) or a consumer (handle it). */
export type ParkingSide = "relay" | "consumer";

/** Why an attempt failed, as it is recorded. */
export interface Failure {
  readonly code: string;
  /** One line; no payload. */
  readonly error: string;
  /** No further attempt will be made: the message is a dead letter. */
  readonly isFinal: boolean;
  readonly retryInMs: number;
}

/** A parked message that is due for another attempt. */
export interface DueMessage {
  readonly id: string;
  readonly message: Message;
  /** Attempts that failed so far. */
  readonly attempts: number;
  /** The shard it was written to (the relay's side). */
  readonly shard: number;
}

/** A message to park, on the side of whoever failed with it. */
export interface ParkRequest {
  readonly side: ParkingSide;
  readonly consumer: string;
  readonly message: Message;
  readonly shard?: number;
  /** Absent: nothing is wrong with the message; it waits behind one of its key, or for its topic. */
  readonly failure: Failure | undefined;
  /** A dead letter does not hold back its key. */
  readonly skips: boolean;
}

/**
 * Where messages wait that failed, and those of the same key behind them. The order of a key is kept: only
 * its first message is ever due. An implementation serialises {@link ParkingStore.park} and
 * {@link ParkingStore.resolve} per key.
 */
export interface ParkingStore {
  /** In the order given, all of one side, in one statement. */
  park(tx: TransactionHandle, requests: readonly ParkRequest[]): Promise<void>;
  /** The messages whose next attempt is due, in no order among keys. Takes no lock. */
  due(side: ParkingSide, consumer: string, limit: number): Promise<readonly DueMessage[]>;
  /**
   * Locks one due message until the transaction ends, and says it with up to `behind` of those that wait
   * behind it, in order; without these when it has failed itself. Empty when it is gone, not due, or locked
   * by another. Nobody else tries a message while the first of its key is locked.
   */
  take(
    tx: TransactionHandle,
    id: string,
    options: { readonly behind: number },
  ): Promise<readonly DueMessage[]>;
  /** These messages of one key, as `take` gave them, got done: they go, and the next of the key is due. */
  resolve(tx: TransactionHandle, ids: readonly string[]): Promise<void>;
  /** A further attempt failed. */
  fail(id: string, failure: Failure, skips: boolean): Promise<void>;
}
