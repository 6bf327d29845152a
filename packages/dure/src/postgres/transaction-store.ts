import { DureError, describeError, isDureError } from "../core/errors.ts";
import type { OwnTransaction, RunOptions, TransactionStore } from "../core/service-transaction.ts";
import type { Opening, Statement } from "../core/transaction.ts";
import { commitAlone, commitWith } from "./commit-with.ts";
import type { CommitAnswer } from "./commit-with.ts";
import { limitTime } from "./lock-sql.ts";
import { isQueueing, queryOpening } from "./opening-query.ts";
import { outboxSql } from "./outbox-sql.ts";
import { takeClient } from "./pool.ts";
import type { PostgresClient, PostgresPool, PostgresResult } from "./pool.ts";
import { preparedOpenings } from "./prepared-opening.ts";
import type { Opened, PreparedOpenings } from "./prepared-opening.ts";
import { classifySqlError, sqlStateOf, translateSqlError } from "./sqlstate.ts";

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
  const openings = preparedOpenings();
  const beginWithin = beginTexts(idleInTransactionMsMax);
  return {
    async run(work, options) {
      const { client, release } = await connect(pool);
      const tx = new BeginningTransaction(client, beginWithin(options), openings);
      const limit = timeLimit(options?.msMax, () => release(true));
      try {
        const { opening } = options ?? {};
        // Another driver may not keep the order of what is sent without waiting.
        if (opening !== undefined || !isQueueing(client)) await limit.within(tx.begin(opening));
        const { result, last = [] } = await limit.within(work(tx));
        tx.end();
        await limit.within(tx.begun());
        // Waited for to its end: only its answer says what became of it.
        if (tx.isBegun)
          assertCommitted(await commitWith(client, last, { assertTransaction, names: tx.names }));
        else if (last.length > 0) {
          assertCommitted(await commitAlone(client, last, tx.beginText));
        }
        if (!limit.isOver()) release();
        return result;
      } catch (error) {
        tx.end();
        if (limit.isOver()) {
          throw isDureError(error, "COMMIT_IN_DOUBT") ? error : limit.error(error);
        }
        throw await rolledBack(client, release, tx.failure ?? error);
      } finally {
        limit.end();
      }
    },
    async runStatements(statements, options) {
      const { client, release } = await connect(pool);
      let isOver = false;
      try {
        const answer = await commitAlone(client, statements, beginWithin(options).join("; "));
        isOver = answer.kind === "answered" || classifySqlError(answer.error) !== "unavailable";
        assertCommitted(answer);
      } finally {
        // Without BEGIN an error of the server has ended the transaction; any other connection is not trusted.
        release(!isOver);
      }
    },
  };
}

/** What begins a transaction, by its options. */
function beginTexts(
  idleInTransactionMsMax: number,
): (options: RunOptions | undefined) => readonly string[] {
  const idleAlways = idleInTransactionMsMax || Infinity;
  const textsOf = (idleMs: number): readonly string[] =>
    idleMs === Infinity
      ? [beginOnly]
      : [beginOnly, `set local idle_in_transaction_session_timeout = ${idleMs}`];
  const asAlways = textsOf(idleAlways);
  return ({ idleMsMax = Infinity, msMax, opening } = {}) => {
    const idleMs = Math.min(idleMsMax, idleAlways);
    const begin = idleMs === idleAlways ? asAlways : textsOf(idleMs);
    if (msMax === undefined) return begin;
    if (opening === undefined) return [...begin, limitTime(msMax)];
    // What is run with BEGIN sees to the limit, of pauses too.
    return msMax <= idleMs ? [beginOnly] : begin;
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

/** The time that a transaction may take on this side, counted from before BEGIN. */
interface TimeLimit {
  /** Rejects when the time is over before the promise settles. */
  within<Value>(promise: Promise<Value>): Promise<Value>;
  isOver(): boolean;
  error(cause?: unknown): DureError;
  end(): void;
}

function timeLimit(msMax: number | undefined, onOver: () => void): TimeLimit {
  const over = Promise.withResolvers<never>();
  // Heard where something is waited for; at COMMIT nothing is.
  over.promise.catch(() => undefined);
  let isOver = false;
  const error = (cause?: unknown): DureError =>
    new DureError(
      "TRANSACTION_TIMED_OUT",
      `a transaction took longer than the ${msMax} ms that it may; it was ended, and nothing of it was committed`,
      { cause },
    );
  const timer =
    msMax === undefined
      ? undefined
      : setTimeout(() => {
          isOver = true;
          onOver();
          over.reject(error());
        }, msMax);
  return {
    within: (promise) => Promise.race([promise, over.promise]),
    isOver: () => isOver,
    error,
    end: () => clearTimeout(timer),
  };
}

const beginOnly = "begin isolation level read committed";

/**
 * A transaction that begins when it is first used: BEGIN goes with the first statement, in one round trip.
 * Whoever takes the client itself gets one whose BEGIN is on its way in front of whatever is sent next.
 */
class BeginningTransaction<Client extends PostgresClient> implements OwnTransaction<Client> {
  /** Why there is no transaction. */
  failure: DureError | undefined;
  readonly #client: Client;
  readonly #texts: readonly string[];
  #beginning: Promise<unknown> | undefined;
  readonly #openings: PreparedOpenings;
  #opened: Opened = { rows: [], names: new Map() };
  #isOver = false;

  constructor(client: Client, texts: readonly string[], openings: PreparedOpenings) {
    this.#client = client;
    this.#texts = texts;
    this.#openings = openings;
  }

  get beginText(): string {
    return this.#texts.join("; ");
  }

  get isBegun(): boolean {
    return this.#beginning !== undefined;
  }

  get client(): Client {
    if (!this.#isOver) void this.begin().catch(() => undefined);
    return this.#client;
  }

  /** The work is done: it begins nothing any more. */
  end(): void {
    this.#isOver = true;
  }

  /** What the statements answered that went with BEGIN. */
  get opened(): Opened["rows"] {
    return this.#opened.rows;
  }

  /** Of statements that its connection has prepared. */
  get names(): Opened["names"] {
    return this.#opened.names;
  }

  /** Begins, unless it has; with statements behind BEGIN. */
  begin(opening?: Opening): Promise<unknown> {
    this.#beginning ??= this.#begin(opening);
    return this.#beginning;
  }

  async #begin(opening: Opening | undefined): Promise<void> {
    try {
      const opened = opening && this.#openings.open(this.#client, this.#texts, opening);
      if (opened === undefined) await this.#beginOneByOne(opening?.statements ?? []);
      else this.#opened = await opened;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  async #beginOneByOne(statements: readonly Statement[]): Promise<void> {
    await this.#client.query(this.beginText);
    const rows: Opened["rows"][number][] = [];
    for (const { text, params } of statements) {
      const answer = await this.#client.query(text, params);
      rows.push(...answer.rows);
    }
    this.#opened = { ...this.#opened, rows };
  }

  /** Waits for a BEGIN that is on its way. @throws DATABASE_UNAVAILABLE when there is no transaction */
  async begun(): Promise<void> {
    await this.#beginning?.catch(() => undefined);
    if (this.failure !== undefined) throw this.failure;
  }

  query(text: string, params: readonly unknown[] = []): Promise<PostgresResult> {
    if (this.#isOver) return this.#client.query(text, params);
    if (this.#beginning === undefined && params.length > 0) {
      const answer = queryOpening(this.#client, this.#texts, {
        text,
        params,
        onFailedOpening: (error) => this.#fail(error),
      });
      this.#beginning = answer;
      if (answer !== undefined) return answer;
    }
    void this.begin().catch(() => undefined);
    return this.#client.query(text, params);
  }

  #fail(error: unknown): DureError {
    const translated = translateSqlError(error);
    this.failure = isDureError(translated)
      ? translated
      : unavailable("the transaction could not begin", error);
    return this.failure;
  }
}

function assertCommitted(answer: CommitAnswer): void {
  if (answer.kind === "failed") {
    const { error, mayHaveCommitted } = answer;
    const isLost = classifySqlError(error) === "unavailable";
    if (!isLost || (isTimedOut(error) && !mayHaveCommitted)) throw translateSqlError(error);
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

/** The server has ended the transaction, and says why. */
function isTimedOut(error: unknown): boolean {
  return sqlStateOf(error) === "25P04";
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
    if (isTimedOut(error)) return translateSqlError(error);
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
