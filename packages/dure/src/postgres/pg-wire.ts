import type { Statement } from "../core/transaction.ts";
import type { PostgresClient } from "./pool.ts";

/** The extended query protocol of a `pg` connection, message by message. */
export interface WireConnection {
  readonly stream: { cork(): void; uncork(): void };
  /** Text by name, of what the driver takes for prepared on this connection. */
  readonly parsedStatements?: Record<string, string>;
  parse(message: { readonly text: string; readonly name?: string }): void;
  bind(message: { readonly statement?: string; readonly values: readonly (string | null)[] }): void;
  describe(message: { readonly type: "P"; readonly name: string }): void;
  execute(message: object): void;
  sync(): void;
}

/** The part of a `pg` client beyond queries: what `pg-cursor` and `pg-query-stream` use too. */
export interface WireClient {
  /** Then the driver itself sends ahead, and takes no queries of other classes. */
  readonly pipeline: boolean;
  readonly connection: WireConnection;
  /** As the server said with its last answer: I (idle), T (in a transaction), E (in a failed one). */
  getTransactionStatus?(): string | null;
  /** Takes a query object of any class that answers to what `pg` calls on its own. */
  query(query: object): void;
}

/** The client as one whose messages we may write; undefined: another driver, or one that sends ahead by itself. */
export function wireOf(client: PostgresClient): WireClient | undefined {
  // Whatever the client is beyond its shape is looked at before it is used.
  const driver = client as unknown as Partial<WireClient>;
  const canWrite = typeof driver.connection?.parse === "function" && driver.pipeline !== true;
  return canWrite ? (driver as WireClient) : undefined;
}

/** Gives all that `send` writes to the network at once. */
export function corked<Result>({ stream }: WireConnection, send: () => Result): Result {
  stream.cork();
  try {
    return send();
  } finally {
    stream.uncork();
  }
}

/** Parse (unless the connection knows the statement by a name), Bind, Describe where its rows are read, Execute. */
export function sendStatement(
  connection: WireConnection,
  { text, params }: Statement,
  { name, isRead = false }: { readonly name?: string | undefined; readonly isRead?: boolean } = {},
): void {
  if (name === undefined) connection.parse({ text });
  connection.bind({
    ...(name !== undefined && { statement: name }),
    values: params.map((value) => (value === null ? null : String(value))),
  });
  if (isRead) connection.describe({ type: "P", name: "" });
  connection.execute({});
}
