import type { ParkingSide } from "../core/parking.ts";

/** Which dead letters are meant; what is left out does not narrow. */
export interface DeadLetterFilter {
  readonly id?: string;
  readonly side?: ParkingSide;
  /** The consumer group, or for the relay's side the source. */
  readonly consumer?: string;
  readonly topic?: string;
  readonly key?: string;
  readonly type?: string;
}

/** A message that was given up, and what waits behind it. */
export interface DeadLetter {
  readonly id: string;
  readonly side: ParkingSide;
  readonly consumer: string;
  readonly topic: string;
  readonly key: string;
  readonly messageId: string;
  readonly type: string;
  readonly attempts: number;
  readonly errorCode: string | null;
  readonly lastError: string | null;
  readonly firstFailedAt: string | null;
  readonly lastFailedAt: string | null;
  readonly traceparent: string | null;
  /** Messages of the same key that wait behind it. */
  readonly heldCount: number;
}

/** Who does something, and why; written to the audit log with it. */
export interface Actor {
  readonly actor: string;
  readonly reason?: string;
}

/** The state of the outbox and the inbox, cheap enough to be asked every few seconds. */
export interface StoreStatus {
  /** Events that no relay has published yet; counted up to 100,000. */
  readonly pending: number;
  /** Age of the oldest of them, in seconds by the database's clock; 0 when there is none. */
  readonly oldestPendingSeconds: number;
  readonly deadLetters: number;
  readonly parkedKeys: number;
  /** Messages that wait behind a failed one, or are being tried again. */
  readonly waiting: number;
  readonly relays: number;
  readonly outboxBytes: number;
}

/** What an operator may see and do, in the store's tables. */
export interface AdminStore {
  status(): Promise<StoreStatus>;
  deadLetters(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]>;
  /** Makes the dead letters due again, each with its id and before what waits behind it. Returns how many. */
  redrive(filter: DeadLetterFilter, limit: number, by: Actor): Promise<number>;
  /** Removes the dead letters for good and lets their keys go on. Returns how many. */
  discard(
    filter: DeadLetterFilter,
    limit: number,
    by: Actor & { readonly reason: string },
  ): Promise<number>;
}
