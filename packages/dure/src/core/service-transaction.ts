import type { EventDefinition } from "./event.ts";
import type { MessageContext } from "./message.ts";
import type { Statement, TransactionHandle } from "./transaction.ts";

/**
 * A transaction that the library began and will commit: your statements through `query` or `client`, and
 * the events that commit with them.
 */
export interface ServiceTransaction<Client = unknown> extends TransactionHandle {
  /** The driver's own client, on the same connection: for your ORM or query builder. Do not commit it. */
  readonly client: Client;
  /**
   * Adds an event to the transaction. Events are gathered, checked against their schema, and written in
   * lock order right before COMMIT: in one call, so that two transactions never deadlock over their keys.
   * @throws EVENT_INVALID when the data does not fit the schema
   * @throws TRANSACTION_ENDED when the transaction is over
   */
  emit<Input, Output>(definition: EventDefinition<Input, Output>, data: Input): void;
}

/** What {@link Dure.transaction} takes. */
export interface TransactionOptions {
  /** What caused the events of this transaction. */
  readonly context?: MessageContext;
}

/** What a transaction's work came to. */
export interface WorkDone<Result> {
  readonly result: Result;
  /** To be run last in the transaction, on the way to its COMMIT. */
  readonly last?: Statement | undefined;
}

/** Runs transactions on the service's database. */
export interface TransactionStore<Client = unknown> {
  /**
   * Begins, runs `work`, runs its last statement and commits: these two in one round trip where the driver
   * can. Rolls back when `work` throws or the last statement fails. The last statement is never run alone:
   * when the work has ended the transaction itself it is refused.
   * @throws NOT_IN_TRANSACTION when there is a last statement and the work has ended the transaction
   * @throws COMMIT_REFUSED when COMMIT answered ROLLBACK: a statement had failed and its error was swallowed
   * @throws COMMIT_IN_DOUBT when the connection was lost while COMMIT was on its way
   */
  run<Result>(
    work: (tx: TransactionHandle, client: Client) => Promise<WorkDone<Result>>,
  ): Promise<Result>;
}
