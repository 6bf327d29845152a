/** A service outlives its sessions: those that the database ends, and those of which nothing is heard any more. */
import { pino } from "pino";
import { expect, test } from "vitest";
import { createDatabasePool } from "../chassis/database.ts";
import { createTestDatabase } from "../chassis/testing/test-database.ts";
import { inTransaction } from "../chassis/transaction.ts";

test("a session that ends while a transaction thinks fails the transaction and not the process", async () => {
  await using database = await createTestDatabase("lost_sessions");
  const logger = pino({ level: "silent" });
  const options = { service: "provider", poolMax: 2, logger } as const;
  const pool = createDatabasePool({ url: database.url, ...options });
  try {
    const lost = inTransaction(pool, async (client) => {
      const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
      // Not by `once` of node:events, which listens to errors itself.
      const { promise: ended, resolve } = Promise.withResolvers<void>();
      client.once("end", resolve);
      await database.pool.query("select pg_terminate_backend($1)", [rows[0]?.pid]);
      // Nobody asks anything: the server's last word meets no query. Unheard, it would end the process.
      await ended;
      await client.query("select 1");
    });
    await expect(lost).rejects.toThrow();
    const { rows } = await pool.query<{ one: number }>("select 1 as one");
    expect(rows).toEqual([{ one: 1 }]);
  } finally {
    await pool.end();
  }
});

test("a connection on which nobody answers is given up, in a query and in a transaction, and makes room for another", async () => {
  await using database = await createTestDatabase("silent_sessions");
  const logger = pino({ level: "silent" });
  const options = { service: "provider", poolMax: 1, logger, answerMsMax: 200 } as const;
  const pool = createDatabasePool({ url: database.url, ...options });
  try {
    await expect(pool.query("select pg_sleep(60)")).rejects.toThrow(/timeout/);
    const silent = inTransaction(pool, (client) => client.query("select pg_sleep(60)"));
    await expect(silent).rejects.toThrow(/timeout/);
    const { rows } = await pool.query<{ one: number }>("select 1 as one");
    expect(rows).toEqual([{ one: 1 }]);
  } finally {
    await pool.end();
    // They still sleep on the server, and would hold the database.
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and query like '%pg_sleep(60)%' and pid <> pg_backend_pid()`,
    );
  }
});
