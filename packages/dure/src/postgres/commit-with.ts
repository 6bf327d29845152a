import type { Statement } from "../core/transaction.ts";
import type { PostgresClient } from "./pool.ts";
import { notInTransaction } from "./sqlstate.ts";

/** What became of a COMMIT and the statements before it. */
export type CommitAnswer =
  /** COMMIT's own answer: in an aborted transaction it is ROLLBACK. */
  | { readonly kind: "answered"; readonly command: string | undefined }
  /** `mayHaveCommitted`: COMMIT was on its way, and what became of it is not known. */
  | { readonly kind: "failed"; readonly error: unknown; readonly mayHaveCommitted: boolean };

/**
 * Runs the last statement of a transaction and COMMIT: in one round trip where the driver lets us write the
 * protocol's messages, as that of `pg` does, else one after the other. Behind a statement that fails COMMIT
 * is not run. `assertTransaction` fails outside a transaction; it is run first where the driver does not
 * know whether there is one.
 */
export async function commitWith(
  client: PostgresClient,
  last: Statement | undefined,
  assertTransaction: string,
): Promise<CommitAnswer> {
  const statements = last === undefined ? [] : [{ text: assertTransaction, params: [] }, last];
  // Whatever the client is beyond its shape is looked at before it is used.
  const driver = client as unknown as Partial<PgClient>;
  const canWrite = typeof driver.connection?.parse === "function" && driver.pipeline !== true;
  if (canWrite && statements.length > 0) {
    return new Promise((answer) => {
      const status = (): unknown => driver.getTransactionStatus?.();
      driver.query?.(new CommittingQuery({ statements, status, answer }));
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
  /** As the server said with its last answer: I (idle), T (in a transaction), E (in a failed one). */
  getTransactionStatus(): string | null;
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
  #statements: readonly Statement[];
  readonly #status: () => unknown;
  #isSent = false;
  #completed = 0;
  #command: string | undefined;

  /** The first of the statements asserts that there is a transaction. */
  constructor(parts: {
    readonly statements: readonly Statement[];
    readonly status: () => unknown;
    readonly answer: (answer: CommitAnswer) => void;
  }) {
    const { answer } = parts;
    this.#statements = parts.statements;
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
  submit(connection: PgConnection): Error | undefined {
    const status = this.#status();
    if (status === "I") return notInTransaction();
    if (status === "T" || status === "E") this.#statements = this.#statements.slice(1);
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

function wireText(value: string | number | boolean | null): string | null {
  return value === null ? null : String(value);
}
