import type { EventDefinition } from "./event.ts";
import type { MessageContext } from "./message.ts";
import type { Opening, Statement, TransactionHandle } from "./transaction.ts";

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

/** A transaction as its store has begun it, or will with its first statement. */
export interface OwnTransaction<Client = unknown> extends TransactionHandle {
  /** The driver's own client, in the transaction from here on. */
  readonly client: Client;
  /** What {@link RunOptions.opening} answered. */
  readonly opened: readonly Readonly<Record<string, unknown>>[];
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
  /**
   * After how many milliseconds it is given up, whatever its work does: its connection is closed, so that nothing
   * can be sent on it any more. A COMMIT that is on its way then is in doubt. PostgreSQL 17 and later end it too.
   */
  readonly msMax?: number;
  /** To be run with BEGIN; `work` gets the rows, whose values it reads as text. */
  readonly opening?: Opening;
}

/** Runs transactions on the service's database. */
export interface TransactionStore<Client = unknown> {
  /**
   * Begins, runs `work`, runs its last statements and commits: BEGIN with the first statement of the work, and
   * the last ones with COMMIT, each in one round trip where the driver can. Rolls back when `work` throws or a
   * last statement fails. When the work has ended the transaction itself the last statements are refused.
   * @throws NOT_IN_TRANSACTION when there are last statements and the work has ended the transaction
   * @throws COMMIT_REFUSED when COMMIT answered ROLLBACK: a statement had failed and its error was swallowed
   * @throws COMMIT_IN_DOUBT when the connection was lost while COMMIT was on its way
   * @throws TRANSACTION_TIMED_OUT when it took longer than it may: nothing was committed
   */
  run<Result>(
    work: (tx: OwnTransaction<Client>) => Promise<WorkDone<Result>>,
    options?: RunOptions,
  ): Promise<Result>;
  /**
   * Runs the statements in a transaction of their own: in one round trip where the driver can.
   * @throws COMMIT_REFUSED, COMMIT_IN_DOUBT as `run`
   */
  runStatements(statements: readonly Statement[], options?: RunOptions): Promise<void>;
}
