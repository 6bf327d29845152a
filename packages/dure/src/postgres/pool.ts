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
  const client = await pool.connect();
  client.on("error", ignoreLoss);
  return {
    client,
    release(isBroken = false) {
      client.off("error", ignoreLoss);
      client.release(isBroken);
    },
  };
}

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
