import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "../../src/embedded/index.ts";
import { dropDatabasesOfRun } from "./test-database.ts";

/**
 * Gives the run one PostgreSQL in `DURE_TEST_POSTGRES_URL`: the one already named there, or a new
 * one that goes away afterwards. Each run has an id, so that runs can share a server.
 */
export async function setup(): Promise<() => Promise<void>> {
  process.env["DURE_TEST_RUN_ID"] ??= randomUUID().slice(0, 8);
  if (process.env["DURE_TEST_POSTGRES_URL"] !== undefined) return dropDatabasesOfRun;
  const folder = await mkdtemp(join(tmpdir(), "dure-test-"));
  const server = await startEmbeddedPostgres({
    dataDir: join(folder, "postgres"),
    // Without fsync a kill of any process still loses nothing; only a crash of the computer would.
    settings: {
      fsync: "off",
      full_page_writes: "off",
      max_replication_slots: 32,
      max_wal_senders: 32,
    },
  });
  process.env["DURE_TEST_POSTGRES_URL"] = server.url;
  return async () => {
    delete process.env["DURE_TEST_POSTGRES_URL"];
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
