import type { AdminStore } from "../admin/admin-store.ts";
import type { ParkingStore } from "../core/parking.ts";
import type { TransactionStore } from "../core/service-transaction.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import type { KeyStore } from "../idempotency/key-store.ts";
import type { InboxStore } from "../inbox/inbox-store.ts";
import type { FencingClaim } from "../lock/guarded-write.ts";
import type { LockStore } from "../lock/lock-store.ts";
import type { OutboxFeed } from "../outbox/outbox-feed.ts";
import type { OutboxStore } from "../outbox/outbox-store.ts";
import type { FlowStore } from "../saga/flow-store.ts";
import type { SagaStore } from "../saga/saga-store.ts";
import type { SemaphoreStore } from "../semaphore/semaphore-store.ts";

/** Everything that a service keeps in its own database. `dure/postgres` makes one. */
export interface ServiceStore<Client = unknown> {
  readonly outbox: OutboxStore;
  /** Brings committed events to the relay; without it the relay looks for them. */
  readonly feed?: OutboxFeed | undefined;
  readonly inbox: InboxStore;
  readonly parking: ParkingStore;
  readonly transactions: TransactionStore<Client>;
  readonly admin: AdminStore;
  readonly sagas: SagaStore;
  readonly flows: FlowStore;
  readonly locks: LockStore;
  /**
   * The guard of transactions under a lock that lives elsewhere, run first in them.
   * @throws FENCED when a later holder was here
   */
  guardWrite(
    tx: TransactionHandle,
    write: FencingClaim & { readonly resource: string },
  ): Promise<void>;
  readonly keys: KeyStore;
  readonly semaphores: SemaphoreStore;
  /** Hints from process to process that the outbox has news; may be lost. */
  readonly news: {
    tell(): void;
    listen(listener: () => void): () => void;
  };
  /** Rejects when the schema is not the one that this version needs. */
  check(): Promise<void>;
  /** How long dedup records are kept, where that is known: the start is refused when it is too short. */
  readonly retention?: { readonly inboxMs: number };
  /** Regular care: partitions, retention, archive. Gives up soon when the signal aborts. */
  maintain(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
