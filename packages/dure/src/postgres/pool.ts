import { settledWithin } from "../core/abort.ts";
import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** The part of a `pg` client that the library uses. */
export interface PostgresClient extends TransactionHandle {
  query(text: string, params?: readonly unknown[]): Promise<PostgresResult>;
  release(error?: Error | boolean): void;
  on(
    event: "notification",
    listener: (message: { channel: string; payload?: string | undefined }) => void,
  ): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  off(event: "error", listener: (error: Error) => void): unknown;
  removeAllListeners(event: "notification"): unknown;
}

/** The part of a `pg` result that the library reads. */
export interface PostgresResult {
  readonly rows: readonly Record<string, unknown>[];
  readonly rowCount?: number | null;
  readonly command?: string;
}

/** The part of a `pg` pool that the library uses. It is yours: the library neither makes nor ends it. */
export interface PostgresPool<Client extends PostgresClient = PostgresClient> {
  connect(): Promise<Client>;
  query(text: string, params?: readonly unknown[]): Promise<PostgresResult>;
}

/**
 * A pool whose `connect` also takes a callback, as that of `pg` does. From overloads the compiler infers by
 * the last one, so that without this shape the type of a `pg` pool's client would be lost.
 */
export interface PostgresPoolWithCallbacks<Client extends PostgresClient> {
  connect: { (): Promise<Client>; (callback: never): void };
  query: PostgresPool["query"];
}

/** Hears that a connection was lost between two statements, which `pg` says by an event: the next statement fails and says it again. */
function ignoreLoss(): void {}

/**
 * A connection of the pool for as long as it is in use. Its loss between two statements is an event that
 * would end the process if nobody listened.
 */
export async function takeClient<Client extends PostgresClient>(
  pool: PostgresPool<Client>,
): Promise<{ readonly client: Client; readonly release: (isBroken?: boolean) => void }> {
  const client = await connectHeard(pool);
  let isReleased = false;
  return {
    client,
    release(isBroken = false) {
      // Whoever gives it up at a limit and whoever used it both let go.
      if (isReleased) return;
      isReleased = true;
      client.off("error", ignoreLoss);
      client.release(isBroken);
    },
  };
}

/**
 * A client whose loss is heard from the moment on in which the pool lets go of it: a server that ends a session
 * right after it began may say so before a promise of the client has been heard.
 */
function connectHeard<Client extends PostgresClient>(pool: PostgresPool<Client>): Promise<Client> {
  const hear = (client: Client): Client => {
    client.on("error", ignoreLoss);
    return client;
  };
  // With a callback, as the pool of `pg` takes one, there is no moment between; other pools give a promise only.
  if (pool.connect.length === 0) return pool.connect().then(hear);
  const withCallback = pool as unknown as {
    connect(callback: (error: Error | undefined, client: Client) => void): void;
  };
  return new Promise((resolve, reject) => {
    withCallback.connect((error, client) => {
      if (error === undefined || error === null) resolve(hear(client));
      else reject(error);
    });
  });
}

/** When to give a statement up. */
export interface StatementBounds {
  readonly msMax: number;
  readonly signal?: AbortSignal;
  /** To be prepared under, where the driver is `pg`. */
  readonly name?: string;
}

/**
 * Runs one statement, and waits for its connection and its answer no longer than this: where the network has
 * gone silent the driver would wait for ever, and each wait would keep a place of the pool. The connection
 * of a statement that was given up is closed; whether the statement was executed is unknown.
 *
 * @throws DATABASE_UNAVAILABLE when it was given up
 */
export async function queryWithin(
  pool: PostgresPool,
  text: string,
  params: readonly unknown[] | undefined,
  { msMax, signal, name }: StatementBounds,
): Promise<PostgresResult> {
  const givenUp = Promise.withResolvers<never>();
  let taken: Awaited<ReturnType<typeof takeClient>> | undefined;
  let isOver = false;
  const end = (isBroken: boolean): void => {
    isOver = true;
    taken?.release(isBroken);
    taken = undefined;
  };
  const giveUp = (): void => {
    end(true);
    const why = signal?.aborted === true ? "it was aborted" : `no answer within ${msMax} ms`;
    const what = `a statement was given up and its outcome is unknown: ${why}`;
    givenUp.reject(new DureError("DATABASE_UNAVAILABLE", what));
  };
  const run = async (): Promise<PostgresResult> => {
    const { client, release } = await takeClient(pool);
    taken = { client, release };
    // It came after everybody had gone, and is as good as new.
    if (isOver) end(false);
    if (isOver) return givenUp.promise;
    try {
      const result = await queryAs(client, name, text, params);
      end(false);
      return result;
    } catch (error) {
      end(true);
      throw error;
    }
  };
  if (signal?.aborted === true) giveUp();
  const timer = setTimeout(giveUp, msMax);
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    return await Promise.race([givenUp.promise, isOver ? givenUp.promise : run()]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

function queryAs(
  client: PostgresClient,
  name: string | undefined,
  text: string,
  params: readonly unknown[] | undefined,
): Promise<PostgresResult> {
  const driver = client as unknown as {
    readonly connection?: { readonly parsedStatements?: unknown };
    query(query: object): Promise<PostgresResult>;
  };
  // `pg` is known by what it keeps its prepared statements in; others may not take a name.
  const isKnown = typeof driver.connection?.parsedStatements === "object";
  if (name === undefined || !isKnown) return client.query(text, params);
  return driver.query({ name, text, values: params });
}

async function connectWithin(pool: PostgresPool, msMax: number): Promise<PostgresClient> {
  const connecting = connectHeard(pool);
  const unheard = connecting.then((client) => {
    client.off("error", ignoreLoss);
    return client;
  });
  if (await settledWithin(unheard, msMax)) return unheard;
  unheard.then(
    (client) => client.release(),
    () => undefined,
  );
  throw new DureError("DATABASE_UNAVAILABLE", `no connection could be had within ${msMax} ms`);
}

/** The pool, with the same bound on each wait for a connection and on each statement of its `query`. */
export function boundedPool(pool: PostgresPool, msMax: number): PostgresPool {
  return {
    connect: () => connectWithin(pool, msMax),
    query: (text, params) => queryWithin(pool, text, params, { msMax }),
  };
}

/** How long a statement of the library may take, where nothing else is said. */
export const statementMsMaxDefault = 30_000;

/** `identifier` quoted for SQL text. */
export function quoteIdentifier(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}

/**
 * A schema's name, checked once where it enters.
 * @throws CONFIGURATION_INVALID
 */
export function checkSchemaName(schema: string): string {
  if (/^[a-z_][a-z0-9_]{0,40}$/.test(schema)) return schema;
  throw new DureError(
    "CONFIGURATION_INVALID",
    `schema: "${schema}" must be 1 to 41 of a-z, 0-9 and _, and must not begin with a digit`,
  );
}

/**
 * A time in milliseconds, checked once where it enters.
 * @throws CONFIGURATION_INVALID
 */
export function checkMs(name: string, value: number, min: number): void {
  const max = 86_400_000;
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new DureError(
    "CONFIGURATION_INVALID",
    `${name}: must be a whole number of milliseconds from ${min} to ${max}, got ${String(value)}`,
  );
}
