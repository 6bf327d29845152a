import type { ServiceTransaction } from "../core/service-transaction.ts";
import type { PoisonPolicy, ReceivedMessage } from "../inbox/inbox.ts";

/** What `Dure.on` takes. */
export interface OnOptions {
  /** The consumer group: each message is handled once per group. @defaultValue the service's name */
  readonly group?: string;
  /** What a message that failed for good does to its key: hold it until someone looks, or let it go on. @defaultValue "park-key" */
  readonly whenPoisoned?: PoisonPolicy;
  /** Where a group that is new begins. @defaultValue "earliest" */
  readonly from?: "earliest" | "latest";
}

/** Handles one message in the transaction that also holds its dedup record. Throwing undoes it and tries again later. */
export type Handler<Data, Client> = (
  message: ReceivedMessage<Data>,
  tx: ServiceTransaction<Client>,
) => Promise<void> | void;
