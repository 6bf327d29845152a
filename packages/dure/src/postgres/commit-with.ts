import type { Statement } from "../core/transaction.ts";
import { corked, sendStatement, wireOf } from "./pg-wire.ts";
import type { WireConnection } from "./pg-wire.ts";
import type { PostgresClient } from "./pool.ts";
import { notInTransaction } from "./sqlstate.ts";

/** What became of a COMMIT and the statements before it. */
export type CommitAnswer =
  /** COMMIT's own answer: in an aborted transaction it is ROLLBACK. */
  | { readonly kind: "answered"; readonly command: string | undefined }
  /** `mayHaveCommitted`: COMMIT was on its way, and what became of it is not known. */
  | { readonly kind: "failed"; readonly error: unknown; readonly mayHaveCommitted: boolean };

/**
 * Runs the last statements of a transaction and COMMIT: in one round trip where the driver lets us write the
 * protocol's messages, as that of `pg` does, else one after the other. Behind a statement that fails COMMIT
 * is not run. `assertTransaction` fails outside a transaction; it is run first where the driver does not
 * know whether there is one.
 */
export async function commitWith(
  client: PostgresClient,
  last: readonly Statement[],
  {
    assertTransaction,
    names = noNames,
  }: {
    readonly assertTransaction: string;
    /** Of statements that the connection has prepared in this very transaction, by their text. */
    readonly names?: ReadonlyMap<string, string>;
  },
): Promise<CommitAnswer> {
  const statements = last.length === 0 ? [] : [{ text: assertTransaction, params: [] }, ...last];
  if (statements.length > 0) {
    const answer = sendTogether(client, { statements, names, isInTransaction: true });
    if (answer !== undefined) return answer;
  }
  return oneByOne(client, statements);
}

/**
 * Runs the statements in a transaction of their own: in one round trip where the driver lets us write the
 * protocol's messages, else as BEGIN, one after the other, and COMMIT.
 */
export async function commitAlone(
  client: PostgresClient,
  statements: readonly Statement[],
  begin: string,
): Promise<CommitAnswer> {
  const answer = sendTogether(client, { statements, names: noNames, isInTransaction: false });
  if (answer !== undefined) return answer;
  try {
    await client.query(begin);
  } catch (error) {
    return { kind: "failed", error, mayHaveCommitted: false };
  }
  const outcome = await oneByOne(client, statements);
  // A connection that cannot roll back is lost, which is what the outcome says then.
  if (outcome.kind === "failed") await client.query("rollback").catch(() => undefined);
  return outcome;
}

const noNames: ReadonlyMap<string, string> = new Map();

interface Together {
  readonly statements: readonly Statement[];
  readonly names: ReadonlyMap<string, string>;
  readonly isInTransaction: boolean;
}

/** Undefined: the driver does not let us. */
function sendTogether(
  client: PostgresClient,
  together: Together,
): Promise<CommitAnswer> | undefined {
  const driver = wireOf(client);
  if (driver === undefined) return undefined;
  return new Promise((answer) => {
    const status = (): unknown => driver.getTransactionStatus?.();
    driver.query(new CommittingQuery({ ...together, status, answer }));
  });
}

async function oneByOne(
  client: PostgresClient,
  statements: readonly Statement[],
): Promise<CommitAnswer> {
  let isCommitting = false;
  try {
    for (const { text, params } of statements) await client.query(text, params);
    isCommitting = true;
    const { command } = await client.query("commit");
    return { kind: "answered", command };
  } catch (error) {
    return { kind: "failed", error, mayHaveCommitted: isCommitting };
  }
}

/**
 * All statements, and COMMIT where a transaction was begun, before one Sync: an error passes over everything
 * behind it, and without BEGIN the server makes one transaction of what stands before a Sync.
 * Source: PostgreSQL documentation, "Extended Query" and "Pipelining", on implicit transactions.
 */
class CommittingQuery {
  /** Not to be renamed: with a `query_timeout`, `pg` puts its own in its place. */
  callback: (error: unknown) => void;
  #statements: readonly Statement[];
  readonly #names: Together["names"];
  readonly #isInTransaction: boolean;
  readonly #status: () => unknown;
  #isSent = false;
  #completed = 0;
  #command: string | undefined;

  /** In a transaction, the first of the statements asserts that there is one. */
  constructor(
    parts: Together & {
      readonly status: () => unknown;
      readonly answer: (answer: CommitAnswer) => void;
    },
  ) {
    const { answer } = parts;
    this.#statements = parts.statements;
    this.#names = parts.names;
    this.#isInTransaction = parts.isInTransaction;
    this.#status = parts.status;
    this.callback = (error) => {
      if (error === null) return answer({ kind: "answered", command: this.#command });
      answer({ kind: "failed", error, mayHaveCommitted: this.#mayHaveCommitted(error) });
    };
  }

  /** For whoever watches the client's statements: this is one of them. */
  get text(): string {
    return `${this.#statements.at(-1)?.text ?? ""}; commit`;
  }

  /** Called when everything before it has been answered. */
  submit(connection: WireConnection): Error | undefined {
    const status = this.#status();
    if (this.#isInTransaction) {
      if (status === "I") return notInTransaction();
      if (status === "T" || status === "E") this.#statements = this.#statements.slice(1);
    } else if (status === "T" || status === "E") {
      return new Error("a connection came from the pool in the middle of a transaction");
    }
    const commit = this.#isInTransaction ? [{ text: "commit", params: [] }] : [];
    this.#isSent = true;
    corked(connection, () => {
      for (const statement of [...this.#statements, ...commit]) {
        sendStatement(connection, statement, { name: this.#names.get(statement.text) });
      }
      connection.sync();
    });
    return undefined;
  }

  /** The server answers in order: an error of its own before the last statement is done is not COMMIT's. */
  #mayHaveCommitted(error: unknown): boolean {
    const isOfServer = typeof (error as { readonly severity?: unknown }).severity === "string";
    return this.#isSent && !(isOfServer && this.#completed < this.#statements.length);
  }

  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleEmptyQuery(): void {}

  handleCommandComplete(message: { readonly text: string }): void {
    this.#completed += 1;
    this.#command = message.text;
  }

  handleError(error: unknown): void {
    this.callback(error);
  }

  handleReadyForQuery(): void {
    this.callback(null);
  }
}
