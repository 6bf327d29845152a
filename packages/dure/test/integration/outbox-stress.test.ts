/**
 * Positions commit out of order, with rollbacks, savepoints, PREPARE TRANSACTION and pauses right after a
 * position was drawn: none is lost and each key comes in the order of its commits (law O2 b).
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type pg from "pg";
import type { TestDatabase } from "../support/test-database.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  handled,
  handleInto,
  stepTaken,
  type TestService,
  waitForHandled,
} from "./service-fixture.ts";

const eventCount = Number(process.env["DURE_STRESS_EVENTS"] ?? 4_000);
const writerCount = 10;
const keyCount = 60;
const seed = Number(process.env["DURE_STRESS_SEED"] ?? process.hrtime.bigint() % 1_000_000n);

let database: TestDatabase;
let first: TestService;
let second: TestService;

beforeAll(async () => {
  database = await createHandledDatabase("outbox_stress", { poolSizeMax: 30 });
  await database.pool.query("create table counter (key text primary key, n int not null)");
  await database.pool.query(
    "insert into counter select 'key-' || i, 0 from generate_series(0, $1 - 1) i",
    [keyCount],
  );
  first = createTestService({ pool: database.pool, relay: { leaseMs: 2_000, batchSizeMax: 200 } });
  second = createTestService({ pool: database.pool, relay: { leaseMs: 2_000, batchSizeMax: 50 } });
  for (const { dure } of [first, second]) {
    dure.on(stepTaken, {}, handleInto("steps"));
    await dure.start();
  }
});
afterAll(async () => {
  await first.stop();
  await second.stop();
  await database[Symbol.asyncDispose]();
});

/** Mulberry32 (public domain, Tommy Ettinger): small, seeded, good enough to choose by. */
function randomFrom(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Ledger {
  committed: number;
  prepared: number;
}

/** Emits for one key under its aggregate's row lock, so that `n` counts the commits. */
async function step(client: pg.PoolClient, key: string): Promise<void> {
  const { rows } = await client.query<{ n: number }>(
    "update counter set n = n + 1 where key = $1 returning n",
    [key],
  );
  await first.dure.outbox.emit(client, stepTaken.of({ key, n: rows[0]?.n ?? -1 }));
}

async function oneTransaction(
  client: pg.PoolClient,
  random: () => number,
  ledger: Ledger,
  name: string,
): Promise<void> {
  const count = 1 + Math.floor(random() * 3);
  const keys = [
    ...new Set(Array.from({ length: count }, () => `key-${Math.floor(random() * keyCount)}`)),
  ].sort();
  await client.query("begin");
  if (random() < 0.3) await client.query("select pg_current_xact_id()");
  let emitted = 0;
  try {
    for (const key of keys) {
      const isUndone = random() < 0.15;
      if (isUndone) await client.query("savepoint s");
      await step(client, key);
      // The position is drawn; others draw and commit theirs meanwhile.
      if (random() < 0.2) await client.query("select pg_sleep($1)", [random() * 0.01]);
      if (isUndone) await client.query("rollback to s");
      else emitted += 1;
    }
  } catch (error) {
    await client.query("rollback");
    // In several calls and with savepoints that gave locks back, users can deadlock; they try again.
    if ((error as { code?: string }).code === "40P01") return;
    throw error;
  }
  const ending = random();
  if (ending < 0.15) {
    await client.query("rollback");
    return;
  }
  if (ending < 0.22) {
    await client.query(`prepare transaction '${name}'`);
    await client.query("select pg_sleep($1)", [random() * 0.02]);
    const isUndone = random() < 0.2;
    await client.query(`${isUndone ? "rollback" : "commit"} prepared '${name}'`);
    ledger.prepared += 1;
    ledger.committed += isUndone ? 0 : emitted;
    return;
  }
  await client.query("commit");
  ledger.committed += emitted;
}

describe("a relay under hostile writers", () => {
  it(
    `loses none of ${eventCount} events and confuses no key's order (DURE_STRESS_SEED=${seed})`,
    { timeout: 120_000 },
    async () => {
      const ledger: Ledger = { committed: 0, prepared: 0 };
      const writer = async (own: number): Promise<void> => {
        const random = randomFrom(seed * 1_000 + own);
        const client = await database.pool.connect();
        try {
          for (let turn = 0; ledger.committed < eventCount; turn += 1) {
            await oneTransaction(client, random, ledger, `${own}-${turn}`);
          }
        } finally {
          client.release();
        }
      };
      await Promise.all(Array.from({ length: writerCount }, (_, own) => writer(own)));
      await waitForHandled(database.pool, ledger.committed, { timeoutMs: 60_000 });
      const rows = await handled(database.pool);
      expect(rows).toHaveLength(ledger.committed);
      expect(disorderedKeys(rows)).toEqual([]);
      const statuses = await Promise.all([first, second].map(({ dure }) => dure.status()));
      for (const { order } of statuses)
        expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
      expect(ledger.prepared).toBeGreaterThan(0);
    },
  );
});
