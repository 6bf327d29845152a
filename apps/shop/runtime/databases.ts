import { isDureError } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate } from "dure/postgres";
import { Client, Pool } from "pg";
import type { ServiceName } from "../chassis/config.ts";
import type { DataFolder } from "./data-folder.ts";
import { SetupError } from "./setup-error.ts";

/** The databases that the services work in, and the server that holds them. */
export interface Databases {
  readonly urls: Readonly<Record<ServiceName | "bus", string>>;
  /** Where the server is, for people: without a password. */
  readonly address: string;
  /** Stops the server if it is ours. */
  stop(options?: { readonly withinMs?: number }): Promise<void>;
  /** Ends the server at once if it is ours; its next start recovers. */
  kill(): void;
}

type DatabaseName = ServiceName | "bus";

const databaseNames = [
  "order",
  "payment",
  "inventory",
  "delivery",
  "notification",
  "provider",
  "bus",
] as const satisfies readonly DatabaseName[];

/** What {@link startEmbeddedDatabases} needs to know. */
export interface EmbeddedDatabasesOptions {
  readonly folder: DataFolder;
  readonly port: number;
  /** How many service processes will open connections. */
  readonly serviceCount: number;
  readonly signal?: AbortSignal | undefined;
}

/** Starts a PostgreSQL of our own and makes what databases are missing. */
export async function startEmbeddedDatabases(
  options: EmbeddedDatabasesOptions,
): Promise<Databases> {
  const { folder, port, serviceCount, signal } = options;
  // Its port is not probed beforehand: the server of a shop that was killed may still be there, on
  // our data, and is stopped by this.
  const server = await startEmbeddedPostgres({
    dataDir: folder.postgres,
    port,
    // Eight to its own database and six to the bus, and room for psql.
    settings: { max_connections: Math.max(200, 40 + 16 * serviceCount) },
    signal,
  }).catch((error: unknown) => {
    if (!isDureError(error, "EMBEDDED_POSTGRES_IN_USE")) throw error;
    throw new SetupError(
      `${error.message}\nFor PostgreSQL: --port moves all ports, --data names another data folder.`,
    );
  });
  const kill = (): void => {
    try {
      process.kill(server.pid, "SIGQUIT");
    } catch {
      // It has ended already.
    }
  };
  try {
    const urls = await createAll((name) => server.createDatabase(`shop_${name}`));
    await migrateBus(urls.bus);
    return {
      urls,
      address: `127.0.0.1:${port}`,
      stop: (stopOptions) => server.stop(stopOptions),
      kill,
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Uses a PostgreSQL that somebody else runs; makes what databases are missing. */
export async function connectDatabases(
  serverUrl: string,
  options: { readonly fresh: boolean },
): Promise<Databases> {
  const server = parseServerUrl(serverUrl);
  const client = new Client({ connectionString: serverUrl, connectionTimeoutMillis: 5000 });
  client.on("error", () => undefined); // the query under way fails as well, and tells
  const urls = await createAll(() => Promise.resolve(""));
  try {
    await client.connect();
    for (const name of databaseNames) {
      urls[name] = await ensureDatabase(client, server, `shop_${name}`, options.fresh);
    }
    await migrateBus(urls.bus);
  } catch (error) {
    const why = error instanceof Error ? error.message || error.name : String(error);
    throw new SetupError(`PostgreSQL at ${server.host} cannot be used: ${why}`, { cause: error });
  } finally {
    await client.end().catch(() => undefined);
  }
  return { urls, address: server.host, stop: async () => undefined, kill: () => undefined };
}

/** The event log belongs to no service, so nobody who only reads it would make it. */
async function migrateBus(url: string): Promise<void> {
  const pool = new Pool({ connectionString: url, max: 1 });
  try {
    await migrate({ pool });
  } finally {
    await pool.end();
  }
}

function parseServerUrl(serverUrl: string): URL {
  const url = URL.canParse(serverUrl) ? new URL(serverUrl) : undefined;
  if (url === undefined || !/^postgres(ql)?:$/.test(url.protocol)) {
    throw new SetupError(
      "--postgres-url must look like postgres://user:password@host:5432/postgres",
    );
  }
  return url;
}

async function ensureDatabase(
  client: Client,
  server: URL,
  name: string,
  fresh: boolean,
): Promise<string> {
  const identifier = client.escapeIdentifier(name);
  if (fresh) await client.query(`drop database if exists ${identifier} with (force)`);
  await client.query(`create database ${identifier}`).catch((error: unknown) => {
    // duplicate_database, or unique_violation when somebody makes it at the same moment.
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "42P04" && code !== "23505") throw error;
  });
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

async function createAll(
  create: (name: DatabaseName) => Promise<string>,
): Promise<Record<DatabaseName, string>> {
  const urls: Record<DatabaseName, string> = {
    gateway: "",
    order: "",
    payment: "",
    inventory: "",
    delivery: "",
    notification: "",
    provider: "",
    bus: "",
  };
  for (const name of databaseNames) urls[name] = await create(name);
  return urls;
}
