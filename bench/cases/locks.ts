import { createDure } from "dure";
import type { Dure } from "dure";
import { postgresStore } from "dure/postgres";
import { redisLockStore } from "dure/redis";
import type { Pool } from "pg";
import { startRedisServer } from "../../tools/servers/redis.ts";
import type { BenchCase } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { ratioFigure } from "../figure.ts";
import { rotate } from "../load.ts";
import type { Variant } from "../load.ts";
import { Series } from "../measure.ts";
import { openRedisPeers } from "../peers/redis-locks.ts";

const advisory = "advisory lock and unlock: no lease, no token, bound to a session";
const bare = "BEGIN, insert, COMMIT without a lock";
const bareLocked = "the same in pg_advisory_xact_lock: no token, nothing outside";

/**
 * What it costs to take and release a lock that nobody else wants, 16 at once, each with a key of its own; and what a
 * lock around a transaction costs. The promises differ more than the figures, so each stands in its line.
 */
export const measureLocks: BenchCase = async ({ options, server, progress }) => {
  await using database = await openDatabase(server, "locks");
  await using redis = await startRedisServer();
  await using peers = await openRedisPeers(redis.url);
  const { pool } = database;
  await pool.query("create table locked (id bigint generated always as identity, writer int)");
  const onPostgres = createDure({ service: "bench", store: postgresStore({ pool }) });
  const onRedis = createDure({
    service: "bench",
    store: postgresStore({ pool }),
    locks: { store: redisLockStore({ client: peers.client }) },
  });
  const alone: readonly Variant[] = [
    { name: advisory, work: (writer) => lockSession(pool, writer) },
    {
      name: "Dure, PostgreSQL: lease, token, durable",
      work: (writer) => acquireAndRelease(onPostgres, writer),
    },
    {
      name: "Dure, Redis: lease, token, not durable",
      work: (writer) => acquireAndRelease(onRedis, writer),
    },
    ...peers.variants,
  ];
  const around: readonly Variant[] = [
    { name: bare, work: (writer) => insertLocked(pool, writer, false) },
    { name: bareLocked, work: (writer) => insertLocked(pool, writer, true) },
    {
      name: "Dure withLock, PostgreSQL: lost lease commits nothing, released in the commit",
      work: (writer) => withLock(onPostgres, writer),
    },
    {
      name: "Dure withLock, Redis: guarded by the token, released after the commit",
      work: (writer) => withLock(onRedis, writer),
    },
  ];
  const series = new Series();
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const variants of [alone, around]) {
      await settle(pool);
      const rates = await rotate(variants, options);
      for (const [name, rate] of rates) series.add(name, rate);
    }
    progress(`locks round ${round}/${options.rounds}`);
  }
  await onPostgres.stop();
  await onRedis.stop();
  const figure = (work: string, base: string, of: string) =>
    ratioFigure(series, "locks", { work, base, of });
  return [
    ...alone.map(({ name }) => figure(name, advisory, "advisory lock")),
    ...around.map(({ name }) => figure(name, bare, "no lock")),
  ];
};

async function acquireAndRelease(dure: Dure, writer: number): Promise<void> {
  const lease = await dure.locks.tryAcquire(`writer:${writer}`);
  if (!(await lease?.release())) throw new Error("a lock that nobody else wants was not had");
}

async function lockSession(pool: Pool, writer: number): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("select pg_advisory_lock($1)", [writer]);
    await client.query("select pg_advisory_unlock($1)", [writer]);
  } finally {
    client.release();
  }
}

const insert = "insert into locked (writer) values ($1)";

async function insertLocked(pool: Pool, writer: number, isLocked: boolean): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    if (isLocked) await client.query("select pg_advisory_xact_lock($1)", [writer]);
    await client.query(insert, [writer]);
    await client.query("commit");
  } finally {
    client.release();
  }
}

async function withLock(dure: Dure, writer: number): Promise<void> {
  await dure.locks.withLock(`writer:${writer}`, {}, async ({ tx }) => {
    await tx.query(insert, [writer]);
  });
}
