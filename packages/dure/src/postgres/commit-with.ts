import type { Statement } from "../core/transaction.ts";
import type { PostgresClient } from "./pool.ts";

/** What became of a COMMIT and the statements before it. */
export type CommitAnswer =
  /** COMMIT's own answer: in an aborted transaction it is ROLLBACK. */
  | { readonly kind: "answered"; readonly command: string | undefined }
  /** `mayHaveCommitted`: COMMIT was on its way, and what became of it is not known. */
  | { readonly kind: "failed"; readonly error: unknown; readonly mayHaveCommitted: boolean };

/**
 * Runs the statements and COMMIT: in one round trip where the driver lets us write the protocol's messages,
 * as that of `pg` does, else one after the other. Behind a statement that fails COMMIT is not run.
 */
export async function commitWith(
  client: PostgresClient,
  statements: readonly Statement[],
): Promise<CommitAnswer> {
  // Whatever the client is beyond its shape is looked at before it is used.
  const driver = client as unknown as Partial<PgClient>;
  const canWrite = typeof driver.connection?.parse === "function" && driver.pipeline !== true;
  if (canWrite && statements.length > 0) {
    return new Promise((answer) => {
      driver.query?.(new CommittingQuery(statements, answer));
    });
  }
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

/** The part of a `pg` client beyond queries: what `pg-cursor` and `pg-query-stream` use too. */
interface PgClient {
  /** Then the driver itself sends ahead, and takes no queries of other classes. */
  readonly pipeline: boolean;
  readonly connection: PgConnection;
  query(query: CommittingQuery): void;
}

/** The extended query protocol, message by message. */
interface PgConnection {
  readonly stream: { cork(): void; uncork(): void };
  parse(message: { readonly text: string }): void;
  bind(message: { readonly values: readonly (string | null)[] }): void;
  execute(message: object): void;
  sync(): void;
}

/** All statements and COMMIT before one Sync: an error passes over everything behind it. */
class CommittingQuery {
  /** Not to be renamed: with a `query_timeout`, `pg` puts its own in its place. */
  callback: (error: unknown) => void;
  readonly #statements: readonly Statement[];
  #isSent = false;
  #completed = 0;
  #command: string | undefined;

  constructor(statements: readonly Statement[], answer: (answer: CommitAnswer) => void) {
    this.#statements = statements;
    this.callback = (error) => {
      if (error === null) return answer({ kind: "answered", command: this.#command });
      answer({ kind: "failed", error, mayHaveCommitted: this.#mayHaveCommitted(error) });
    };
  }

  submit(connection: PgConnection): void {
    this.#isSent = true;
    connection.stream.cork();
    try {
      for (const { text, params } of [...this.#statements, { text: "commit", params: [] }]) {
        connection.parse({ text });
        connection.bind({ values: params.map(wireText) });
        connection.execute({});
      }
      connection.sync();
    } finally {
      connection.stream.uncork();
    }
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

function wireText(value: string | number | boolean | null): string | null {
  return value === null ? null : String(value);
}
