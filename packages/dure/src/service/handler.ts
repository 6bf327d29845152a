import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { PoisonPolicy, ReceivedMessage, RetryPlace } from "../inbox/inbox.ts";

/** What `Dure.on` takes. */
export interface OnOptions {
  /** The consumer group: each message is handled once per group. @defaultValue the service's name */
  readonly group?: string;
  /** What a message that failed for good does to its key: hold it until someone looks, or let it go on. @defaultValue "park-key" */
  readonly whenPoisoned?: PoisonPolicy;
  /**
   * Where a failed message waits for its next attempt: "park": in this database, the rest of its key behind it
   * in order. "topics": in the transport's retry topics with their delays, while its key goes on: **the key's
   * order is given up**; after the last it is a dead letter that holds nobody up. All handlers of a type in a group
   * must say the same, and the transport must have such topics. @defaultValue "park"
   */
  readonly retry?: RetryPlace;
  /** Where a group that is new begins. @defaultValue "earliest" */
  readonly from?: "earliest" | "latest";
}

/** Handles one message in the transaction that also holds its dedup record. Throwing undoes it and tries again later. */
export type Handler<Data, Client> = (
  message: ReceivedMessage<Data>,
  tx: ServiceTransaction<Client>,
) => Promise<void> | void;
