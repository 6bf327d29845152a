/**
 * Positions commit out of order, with rollbacks, savepoints, PREPARE TRANSACTION, killed sessions and pauses right after
 * a position was drawn, while relays come, go, die and freeze: no event is lost, doubled or out of its key's order
 * (laws O2 b, O3). `npm run stress` does it with a million events.
 */
import pg from "pg";
import { afterEach, describe, expect, it } from "vitest";
import { isDureError } from "../../src/index.ts";
import { classifySqlError } from "../../src/postgres/sqlstate.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { dropWalSlot, walOf, type WalKind } from "../support/wal-options.ts";
import { Disturbances } from "./disturbances.ts";
import { createHostileWriters, type LibraryTransaction } from "./hostile-writers.ts";
import { dureOutbox } from "./order-scenarios.ts";
import { sayProgress } from "./say-progress.ts";
import {
  createHandledDatabase,
  createTestService,
  handleInto,
  stepTaken,
  type TestService,
} from "./service-fixture.ts";

const eventCount = Number(process.env["DURE_STRESS_EVENTS"] ?? 4_000);
const seed = Number(process.env["DURE_STRESS_SEED"] ?? process.hrtime.bigint() % 1_000_000n);
const isLong = eventCount > 20_000;
/** How long nothing may move before the rest counts as lost. */
const patienceMs = 30_000;

let database: TestDatabase;
let admin: pg.Pool;
let consumers: readonly TestService[];

async function open(wal: WalKind | undefined): Promise<void> {
  database = await createHandledDatabase("outbox_stress", { poolSizeMax: 40 });
  admin = new pg.Pool({ connectionString: database.url, max: 3, application_name: "stress admin" });
  admin.on("error", () => {}); // a query on it still fails
  const options = { pool: database.pool, relay: false, wal: walOf(wal, database.url) } as const;
  consumers = [1, 2].map(() => createTestService(options));
  for (const { dure } of consumers) {
    dure.on(stepTaken, {}, handleInto("steps"));
    await dure.start();
  }
  // Events may stand in the log alone only when there is a slot.
  const first = createTestService({ pool: database.pool, wal: walOf(wal, database.url) });
  await first.dure.start();
  await first.stop();
}

afterEach(async () => {
  for (const service of consumers) await service.stop();
  await dropWalSlot(database.pool);
  await admin.end();
  await database[Symbol.asyncDispose]();
});

/** A transaction that the library runs; its session may be killed, also in the COMMIT. */
function libraryTransaction({ dure }: TestService): LibraryTransaction {
  return async (work) => {
    try {
      await dure.transaction((tx) =>
        work({
          query: (text, params) => tx.query(text, params),
          emit: (step) => tx.emit(stepTaken, step),
        }),
      );
      return true;
    } catch (error) {
      if (isDureError(error, "COMMIT_IN_DOUBT")) return false;
      if (isDureError(error, "DATABASE_UNAVAILABLE")) return false;
      if (classifySqlError(error) === "unavailable") return false;
      throw error;
    }
  };
}

async function countOf(sql: string): Promise<number> {
  const { rows } = await admin.query<{ count: string }>(`select (select ${sql})::text as count`);
  return Number(rows[0]?.count);
}

/** Resolves when all are handled, or when nothing has been for too long. */
async function waitWhileHandling(goal: number): Promise<void> {
  let [before, movedAt] = [-1, performance.now()];
  const isOver = async () => {
    const now = await countOf("count(*) from handled");
    if (now !== before) movedAt = performance.now();
    before = now;
    return now >= goal || performance.now() - movedAt > patienceMs;
  };
  const what = `the last of ${goal} messages`;
  await waitFor(isOver, {
    what,
    intervalMs: isLong ? 2_000 : 100,
    timeoutMs: 60_000 + eventCount * 10,
  });
}

async function standing(): Promise<string> {
  const committed = await countOf("sum(n) from counter");
  return `${committed} committed, ${await countOf("count(*) from handled")} handled`;
}

const verdict = `
  with seen as (
    select key, n, lag(n) over (partition by key order by id) as before from handled
  ), by_key as (
    select key, count(*) as handled, count(distinct n) as distinct_n, max(n) as last, count(*) filter (where n < before) as disordered
    from seen group by key
  )
  select sum(c.n)::int as events, sum(c.n - coalesce(k.distinct_n, 0))::int as lost,
    coalesce(sum(k.disordered), 0)::int as disordered, coalesce(sum(k.handled - k.distinct_n), 0)::int as duplicates,
    coalesce(sum(greatest(k.last - c.n, 0)), 0)::int as phantoms,
    ((select count(*) from dure.log_message) - sum(c.n))::int as copies
  from counter c left join by_key k using (key)`;

interface Verdict {
  readonly events: number;
  readonly lost: number;
  readonly disordered: number;
  readonly duplicates: number;
  /** Numbers beyond what was committed: published though it was rolled back. */
  readonly phantoms: number;
  /** Sent again by a relay that could not know, and dropped by the inbox. */
  readonly copies: number;
}

describe("a relay under hostile writers, with relays that come, go, die and freeze", () => {
  it.each([
    ["by the outbox's table", undefined],
    ["by the rows in the write-ahead log", "rows"],
    ["by messages that stand in the write-ahead log alone", "messages"],
  ] as const)(
    `%s, loses none of ${eventCount} events and confuses no key's order (DURE_STRESS_SEED=${seed})`,
    { timeout: 120_000 + eventCount * 10 },
    async (_name, wal) => {
      await open(wal);
      const startedAt = performance.now();
      const [writing] = consumers;
      if (writing === undefined) throw new Error("no service to write by");
      const writers = await createHostileWriters(admin, {
        url: database.url,
        design: dureOutbox(writing, database.pool),
        transaction: libraryTransaction(writing),
        seed,
      });
      using _progress = sayProgress(standing);
      await using disturbances = new Disturbances({
        pool: database.pool,
        admin,
        url: database.url,
        seed,
        wal,
        calm: isLong ? 5 : 1,
      });
      await writers.write(eventCount);
      await disturbances.stop();
      await waitWhileHandling(await countOf("sum(n) from counter"));
      const seconds = (performance.now() - startedAt) / 1_000;
      const { rows } = await admin.query<Verdict>(verdict);
      const [found] = rows;
      const { prepared, rolledBack } = writers.ledger;
      const { counts } = disturbances;
      console.log(
        `events ${found?.events}, lost ${found?.lost}, out of order ${found?.disordered}, duplicates ${found?.duplicates}, ` +
          `seconds ${seconds.toFixed(0)}, relays started ${counts.relaysStarted}, sessions killed ${counts.sessionsKilled}; ` +
          `freezes ${counts.freezes}, rolled back ${rolledBack}, prepared ${prepared}, copies dropped by the inbox ${found?.copies}`,
      );
      expect(found).toMatchObject({ lost: 0, disordered: 0, duplicates: 0, phantoms: 0 });
      expect(found?.events).toBeGreaterThanOrEqual(eventCount * 0.99);
      for (const { dure } of consumers) {
        expect((await dure.status()).order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
      }
      expect(prepared).toBeGreaterThan(0);
      expect(counts.sessionsKilled).toBeGreaterThan(0);
      expect(counts.freezes).toBeGreaterThan(0);
    },
  );
});
