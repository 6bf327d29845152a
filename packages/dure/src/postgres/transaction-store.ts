import { DureError, describeError } from "../core/errors.ts";
import type { RunOptions, TransactionStore } from "../core/service-transaction.ts";
import { commitAlone, commitWith } from "./commit-with.ts";
import type { CommitAnswer } from "./commit-with.ts";
import { limitTime } from "./lock-sql.ts";
import { outboxSql } from "./outbox-sql.ts";
import { takeClient } from "./pool.ts";
import type { PostgresClient, PostgresPool } from "./pool.ts";
import { classifySqlError, translateSqlError } from "./sqlstate.ts";

/**
 * Transactions on a pool of PostgreSQL connections, at READ COMMITTED. The server ends one whose process
 * does nothing for `idleInTransactionMsMax`: frozen or cut off, it would hold its locks for as long as its
 * connection seems to live. 0: as the server is set.
 */
export function postgresTransactionStore<Client extends PostgresClient>(
  pool: PostgresPool<Client>,
  {
    schema,
    idleInTransactionMsMax,
  }: { /** Quoted. */ readonly schema: string; readonly idleInTransactionMsMax: number },
): TransactionStore<Client> {
  const { assertTransaction } = outboxSql(schema);
  const beginText = (idleMs: number): string =>
    idleMs === 0
      ? beginOnly
      : `${beginOnly}; set local idle_in_transaction_session_timeout = ${idleMs}`;
  const beginAsAlways = beginText(idleInTransactionMsMax);
  const beginWithin = (options: RunOptions | undefined): string => {
    const { idleMsMax: idleMs = Infinity, msMax } = options ?? {};
    const begin = idleMs < (idleInTransactionMsMax || Infinity) ? beginText(idleMs) : beginAsAlways;
    return msMax === undefined ? begin : `${begin}; ${limitTime(msMax)}`;
  };
  return {
    async run(work, options) {
      const { client, release } = await connect(pool);
      try {
        await begin(client, beginWithin(options));
        const { result, last = [] } = await work(client, client);
        assertCommitted(await commitWith(client, last, assertTransaction));
        release();
        return result;
      } catch (error) {
        throw await rolledBack(client, release, error);
      }
    },
    async runStatements(statements, options) {
      const { client, release } = await connect(pool);
      let isOver = false;
      try {
        const answer = await commitAlone(client, statements, beginWithin(options));
        isOver = answer.kind === "answered" || classifySqlError(answer.error) !== "unavailable";
        assertCommitted(answer);
      } finally {
        // Without BEGIN an error of the server has ended the transaction; any other connection is not trusted.
        release(!isOver);
      }
    },
  };
}

async function connect<Client extends PostgresClient>(
  pool: PostgresPool<Client>,
): ReturnType<typeof takeClient<Client>> {
  try {
    return await takeClient(pool);
  } catch (error) {
    throw unavailable("no connection could be had", error);
  }
}

const beginOnly = "begin isolation level read committed";

async function begin(client: PostgresClient, text: string): Promise<void> {
  try {
    await client.query(text);
  } catch (error) {
    throw unavailable("the transaction could not begin", error);
  }
}

function assertCommitted(answer: CommitAnswer): void {
  if (answer.kind === "failed") {
    const { error, mayHaveCommitted } = answer;
    if (classifySqlError(error) !== "unavailable") throw translateSqlError(error);
    if (!mayHaveCommitted) {
      throw unavailable("the connection was lost before COMMIT, nothing was committed", error);
    }
    throw new DureError(
      "COMMIT_IN_DOUBT",
      `the connection was lost while COMMIT was on its way (${describeError(error)}): it may have committed or not; look before you do it again`,
      { cause: error },
    );
  }
  // In an aborted transaction COMMIT succeeds and rolls back; only its answer says so.
  if (answer.command === "ROLLBACK") {
    throw new DureError(
      "COMMIT_REFUSED",
      "COMMIT answered ROLLBACK: a statement of the transaction had failed and its error was not passed on; nothing was committed",
    );
  }
}

/** Ends the transaction and gives the connection back; a connection that cannot roll back is thrown away. */
async function rolledBack(
  client: PostgresClient,
  release: (isBroken?: boolean) => void,
  error: unknown,
): Promise<unknown> {
  try {
    await client.query("rollback");
    release();
    return error;
  } catch (rollbackError) {
    release(true);
    const isKnown = error instanceof DureError && error.code === "COMMIT_IN_DOUBT";
    return isKnown || (error instanceof DureError && error.code === "DATABASE_UNAVAILABLE")
      ? error
      : unavailable(
          "the connection was lost in the middle of the transaction, which is rolled back",
          error ?? rollbackError,
        );
  }
}

function unavailable(what: string, cause: unknown): DureError {
  return new DureError("DATABASE_UNAVAILABLE", `${what}: ${describeError(cause)}`, { cause });
}
