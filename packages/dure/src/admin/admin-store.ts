import type { ParkingSide } from "../core/parking.ts";
import type { LockAdminStore } from "../lock/lock-store.ts";
import type { Actor, ActorWithReason } from "./actor.ts";
import type { SagaAdminStore } from "./saga-admin-store.ts";
import type { SemaphoreAdminStore } from "./semaphore-admin-store.ts";

/** Who could not get it done: a relay, a consumer, or a saga that is parked for a person. */
export type DeadLetterSide = ParkingSide | "saga";

/** Which dead letters are meant; what is left out does not narrow. */
export interface DeadLetterFilter {
  /** As the list shows it: a number, or `saga/` and the saga's id. */
  readonly id?: string;
  readonly side?: DeadLetterSide;
  /** The consumer group; for the relay's side the source, for a saga its definition. */
  readonly consumer?: string;
  /** Of a saga `saga`. */
  readonly topic?: string;
  /** Of a saga its business key, or else its id. */
  readonly key?: string;
  /** Of a saga its status. */
  readonly type?: string;
}

/** A message that was given up, and what waits behind it; or a parked saga. */
export interface DeadLetter {
  readonly id: string;
  readonly side: DeadLetterSide;
  readonly consumer: string;
  readonly topic: string;
  readonly key: string;
  /** Of a saga its id. */
  readonly messageId: string;
  readonly type: string;
  readonly sagaId: string | null;
  /** Of a saga: the step that failed, or whose compensation did. */
  readonly step: string | null;
  readonly attempts: number;
  readonly errorCode: string | null;
  readonly lastError: string | null;
  readonly firstFailedAt: string | null;
  readonly lastFailedAt: string | null;
  readonly traceparent: string | null;
  /** Messages of the same key that wait behind it. */
  readonly heldCount: number;
}

/** One shard of the outbox and who publishes it. */
export interface RelayShard {
  readonly shard: number;
  /** The relay that owns it under a live lease; null when nobody does. */
  readonly owner: string | null;
  /** What is left of the owner's lease, by the database's clock. */
  readonly leaseMsLeft: number | null;
  /** The fencing token: raised with each change of owner. */
  readonly epoch: number;
  /** Everything up to this position is published or parked. */
  readonly low: number;
  /** The highest position that is. */
  readonly head: number;
  /** The last position drawn by a writer; it may be uncommitted. */
  readonly last: number;
  /** Ranges between low and head that were drawn and not seen: open or rolled-back transactions. */
  readonly gaps: number;
  /** Committed events that are not published; counted up to 20,000. */
  readonly pending: number;
  /** Its sequence was set back: it is stopped until a rebase. */
  readonly isSetBack: boolean;
}

/** Who paused the relays, and why. */
export interface RelayPause {
  readonly actor: string;
  readonly reason: string;
  readonly pausedAt: string;
}

/** How the relays of one outbox stand. */
export interface RelayStatus {
  readonly pause: RelayPause | null;
  /** From 1; raised by each rebase. */
  readonly incarnation: number;
  /** Relays with a live lease. */
  readonly relays: number;
  /** Of all shards together. */
  readonly pending: number;
  /** Events that were refused and are being tried again. */
  readonly retrying: number;
  /** Events that were refused for good, and those of their keys that wait behind them. */
  readonly parked: number;
  readonly shards: readonly RelayShard[];
}

/** A shard that was mended after its sequence had been set back. */
export interface RebasedShard {
  readonly shard: number;
  /** Events that were given new positions, and are sent. */
  readonly moved: number;
  readonly incarnation: number;
}

/** What is known after a lost replication slot. */
export interface RelayResync {
  /**
   * Positions that were drawn, are not published, and are in no table: events that stood in the lost log alone,
   * or transactions that rolled back or are still open.
   */
  readonly missing: number;
  readonly shards: readonly { readonly shard: number; readonly missing: number }[];
}

/** The state of the outbox and the inbox, cheap enough to be asked every few seconds. */
export interface StoreStatus {
  /** Events that no relay has published yet; counted up to 100,000. */
  readonly pending: number;
  /** Age of the oldest of them, in seconds by the database's clock; 0 when there is none. */
  readonly oldestPendingSeconds: number;
  /** Messages that were given up, and parked sagas. */
  readonly deadLetters: number;
  /** Sagas that have not ended and are not parked, waiting ones included. */
  readonly liveSagas: number;
  /** Sagas that wait for a person. */
  readonly parkedSagas: number;
  readonly parkedKeys: number;
  /** Messages that wait behind a failed one, or are being tried again. */
  readonly waiting: number;
  readonly relays: number;
  /** An operator has paused the relays. */
  readonly isPaused: boolean;
  readonly outboxBytes: number;
}

/** The event that has been waiting longest to be published. */
export interface PendingEvent {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  readonly shard: number;
  /** Its age by the database's clock. */
  readonly seconds: number;
}

/** What an operator may see and do, in the store's tables. */
export interface AdminStore {
  status(): Promise<StoreStatus>;
  /** Cheap, however much waits or is done. */
  oldestPending(): Promise<PendingEvent | undefined>;
  deadLetters(filter: DeadLetterFilter, limit: number): Promise<readonly DeadLetter[]>;
  /** Makes the dead letters due again, each with its id and before what waits behind it; sagas are retried. Returns how many. */
  redrive(filter: DeadLetterFilter, limit: number, by: Actor): Promise<number>;
  /** Removes the dead letters for good and lets their keys go on; leaves sagas alone. Returns how many. */
  discard(filter: DeadLetterFilter, limit: number, by: ActorWithReason): Promise<number>;
  readonly sagas: SagaAdminStore;
  readonly locks: LockAdminStore;
  readonly semaphores: SemaphoreAdminStore;
  relayStatus(): Promise<RelayStatus>;
  /** Durable, for all relays of the outbox. Resolves to whether they were not paused before. */
  pauseRelays(by: ActorWithReason): Promise<boolean>;
  /** Resolves to whether they were paused. */
  resumeRelays(by: Actor): Promise<boolean>;
  /** Mends the shards whose sequence was set back, of those named or of all; leaves sound ones alone. */
  rebase(
    shards: readonly number[] | undefined,
    by: ActorWithReason,
  ): Promise<readonly RebasedShard[]>;
  /**
   * Publishes what the outbox keeps of a topic (of all, when it is not named) once more, from the first event that
   * was written at `since` or later; in order, and what waits behind it.
   */
  republish(
    what: { readonly topic: string | undefined; readonly since: string },
    by: ActorWithReason,
  ): Promise<readonly RebasedShard[]>;
  resync(by: ActorWithReason): Promise<RelayResync>;
}
