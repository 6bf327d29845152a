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
  /** To be run last in the transaction, in this order, on the way to its COMMIT. */
  readonly last?: readonly Statement[] | undefined;
}

/** What a transaction may be told. */
export interface RunOptions {
  /**
   * After how many milliseconds of doing nothing between two statements the server ends it; no more than the
   * store says for all.
   */
  readonly idleMsMax?: number;
  /** After how many milliseconds in all the server ends it, whatever it does. PostgreSQL 17 and later; before, nothing does. */
  readonly msMax?: number;
}

/** Runs transactions on the service's database. */
export interface TransactionStore<Client = unknown> {
  /**
   * Begins, runs `work`, runs its last statements and commits: these in one round trip where the driver
   * can. Rolls back when `work` throws or a last statement fails. The last statements are never run alone:
   * when the work has ended the transaction itself they are refused.
   * @throws NOT_IN_TRANSACTION when there are last statements and the work has ended the transaction
   * @throws COMMIT_REFUSED when COMMIT answered ROLLBACK: a statement had failed and its error was swallowed
   * @throws COMMIT_IN_DOUBT when the connection was lost while COMMIT was on its way
   */
  run<Result>(
    work: (tx: TransactionHandle, client: Client) => Promise<WorkDone<Result>>,
    options?: RunOptions,
  ): Promise<Result>;
  /**
   * Runs the statements in a transaction of their own: in one round trip where the driver can.
   * @throws COMMIT_REFUSED, COMMIT_IN_DOUBT as `run`
   */
  runStatements(statements: readonly Statement[], options?: RunOptions): Promise<void>;
}
