import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "dure/embedded";
import type { EmbeddedPostgres } from "dure/embedded";
import { migrate } from "dure/postgres";
import { Pool } from "pg";
import { writers } from "./load.ts";

/** A database of its own for a case, with the library's schema. */
export interface Database extends AsyncDisposable {
  readonly url: string;
  readonly pool: Pool;
}

/** Room for all writers, and for what runs beside them. */
export const poolSize: number = writers + 8;

/**
 * The servers of one run. Durability is PostgreSQL's own: fsync and synchronous_commit are on. Memory and
 * WAL are set as for the peers, so that no checkpoint falls into a slice.
 */
export class Servers implements AsyncDisposable {
  readonly #resources: AsyncDisposableStack = new AsyncDisposableStack();
  #isClosed = false;
  #isUnused = true;

  /** Whether none was ever started. */
  get isUnused(): boolean {
    return this.#isUnused;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  async start(): Promise<EmbeddedPostgres> {
    if (this.#isClosed) throw new Error("the bench is being stopped");
    this.#isUnused = false;
    const folder = await mkdtemp(join(tmpdir(), "dure-bench-"));
    this.#resources.defer(() => rm(folder, { recursive: true, force: true }));
    const server = await startEmbeddedPostgres({
      dataDir: join(folder, "data"),
      settings: { shared_buffers: "512MB", max_wal_size: "4GB" },
    });
    this.#resources.use(server);
    return server;
  }

  /** Stops them all, which also ends whatever is under way on them, and removes their files. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#resources.disposeAsync();
  }
}

/** Makes the database with all connections of its pool open and the library's schema in place. */
export async function openDatabase(server: EmbeddedPostgres, name: string): Promise<Database> {
  const url = await server.createDatabase(name);
  const pool = new Pool({ connectionString: url, max: poolSize, idleTimeoutMillis: 0 });
  // A server that is stopped while a connection is open says so here; whoever uses it next hears it too.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  await migrate({ pool });
  const clients = await Promise.all(Array.from({ length: poolSize }, () => pool.connect()));
  for (const client of clients) client.release();
  return { url, pool, [Symbol.asyncDispose]: () => pool.end() };
}

/** What autovacuum and the checkpointer would do sooner or later, done now, so that it falls into no slice. */
export async function settle(pool: Pool): Promise<void> {
  await pool.query("vacuum analyze");
  await pool.query("checkpoint");
}
