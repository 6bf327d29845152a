import { corked, sendStatement, wireOf } from "./pg-wire.ts";
import type { WireClient, WireConnection } from "./pg-wire.ts";
import type { PostgresClient, PostgresResult } from "./pool.ts";

/**
 * Runs the statement with what opens its transaction in front of it, in one round trip, where the driver lets
 * us write the protocol's messages, as that of `pg` does. Undefined: it does not. When the opening itself fails
 * the statement is not run, and `onFailedOpening` is called.
 */
export function queryOpening(
  client: PostgresClient,
  opening: readonly string[],
  {
    text,
    params,
    onFailedOpening,
  }: {
    readonly text: string;
    readonly params: readonly unknown[];
    readonly onFailedOpening: (error: unknown) => void;
  },
): Promise<PostgresResult> | undefined {
  const Query = queryClassOf(client);
  if (Query === undefined) return undefined;
  const driver = client as unknown as PgClient;
  return new Promise((resolve, reject) => {
    const query = new OpeningQuery({
      opening,
      onFailedOpening,
      callback: (error, result) => {
        if (error === null || error === undefined) resolve(result as PostgresResult);
        else reject(error as Error);
      },
      inner: (callback) =>
        new Query(
          {
            text,
            values: [...params],
            binary: driver.binary === true,
            // It is the query's place to know how the client reads types; the client tells its own queries only.
            types: { getTypeParser: (oid, format) => driver.getTypeParser(oid, format) },
          },
          undefined,
          callback,
        ),
    });
    driver.query(query);
  });
}

/** Whether the client sends its queries in the order in which they are given to it, without one being waited for. */
export function isQueueing(client: PostgresClient): boolean {
  return queryClassOf(client) !== undefined;
}

function queryClassOf(client: PostgresClient): PgQueryClass | undefined {
  const driver = wireOf(client) as Partial<PgClient> | undefined;
  if (typeof driver?.getTypeParser !== "function") return undefined;
  // What wraps a client shares its prototype.
  const prototype = Object.getPrototypeOf(client) as {
    readonly constructor?: { readonly Query?: PgQueryClass };
  } | null;
  const Query = prototype?.constructor?.Query;
  return typeof Query?.prototype.handleCommandComplete === "function" ? Query : undefined;
}

type Callback = (error: unknown, result?: unknown) => void;

/** A client of `pg` as its own queries know it. */
interface PgClient extends WireClient {
  readonly binary: boolean;
  getTypeParser(oid: number, format?: string): unknown;
}

/** A query of `pg` as its client drives it. */
interface PgQuery {
  submit(connection: WireConnection): Error | null | undefined;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: unknown): void;
  handlePortalSuspended(connection: unknown): void;
  handleEmptyQuery(connection: unknown): void;
  handleCommandComplete(message: unknown, connection: unknown): void;
  handleError(error: unknown, connection: unknown): void;
  handleReadyForQuery(connection: unknown): void;
  handleCopyInResponse(connection: unknown): void;
  handleCopyData(message: unknown, connection: unknown): void;
}

interface PgQueryClass {
  readonly prototype: PgQuery;
  new (
    config: {
      readonly text: string;
      readonly values: readonly unknown[];
      readonly binary: boolean;
      readonly types: { getTypeParser(oid: number, format?: string): unknown };
    },
    values: undefined,
    callback: Callback,
  ): PgQuery;
}

/**
 * Statements without parameters, and a query of `pg` behind them, before one Sync: an error passes over everything
 * behind it. Source: PostgreSQL documentation, "Extended Query" and "Pipelining".
 */
class OpeningQuery implements PgQuery {
  /** Not to be renamed: with a `query_timeout`, `pg` puts its own in its place. */
  callback: Callback;
  /** For whoever watches the client's statements. */
  readonly text: string;
  readonly #opening: readonly string[];
  readonly #inner: PgQuery;
  readonly #onFailedOpening: (error: unknown) => void;
  #opened = 0;

  constructor(parts: {
    readonly opening: readonly string[];
    readonly onFailedOpening: (error: unknown) => void;
    readonly callback: Callback;
    readonly inner: (callback: Callback) => PgQuery;
  }) {
    this.callback = parts.callback;
    this.#opening = parts.opening;
    this.#onFailedOpening = parts.onFailedOpening;
    this.#inner = parts.inner((error, result) => this.callback(error, result));
    this.text = (this.#inner as unknown as { readonly text: string }).text;
  }

  submit(connection: WireConnection): Error | null | undefined {
    return corked(connection, () => {
      for (const text of this.#opening) sendStatement(connection, { text, params: [] });
      return this.#inner.submit(connection);
    });
  }

  /** Whether the statements in front are not all done: what they answer is for nobody. */
  get #isOpening(): boolean {
    return this.#opened < this.#opening.length;
  }

  handleCommandComplete(message: unknown, connection: unknown): void {
    if (this.#isOpening) this.#opened += 1;
    else this.#inner.handleCommandComplete(message, connection);
  }

  handleError(error: unknown, connection: unknown): void {
    if (this.#isOpening) this.#onFailedOpening(error);
    this.#inner.handleError(error, connection);
  }

  handleRowDescription(message: unknown): void {
    this.#inner.handleRowDescription(message);
  }

  handleDataRow(message: unknown): void {
    if (!this.#isOpening) this.#inner.handleDataRow(message);
  }

  handlePortalSuspended(connection: unknown): void {
    this.#inner.handlePortalSuspended(connection);
  }

  handleEmptyQuery(connection: unknown): void {
    this.#inner.handleEmptyQuery(connection);
  }

  handleReadyForQuery(connection: unknown): void {
    this.#inner.handleReadyForQuery(connection);
  }

  handleCopyInResponse(connection: unknown): void {
    this.#inner.handleCopyInResponse(connection);
  }

  handleCopyData(message: unknown, connection: unknown): void {
    this.#inner.handleCopyData(message, connection);
  }
}
