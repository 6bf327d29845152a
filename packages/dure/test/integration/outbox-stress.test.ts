/**
 * Positions commit out of order, with rollbacks, savepoints, PREPARE TRANSACTION, killed sessions and pauses right after
 * a position was drawn, while relays come, go, die and freeze: no event is lost, doubled or out of its key's order
 * (laws O2 b, O3). `npm run stress` does it with a million events.
 */
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ChildPlan } from "../crash/service-child.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { createHostileWriters, randomFrom } from "./hostile-writers.ts";
import { dureOutbox } from "./order-scenarios.ts";
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
const leaseMs = 1_000;
/** How long nothing may move before the rest counts as lost. */
const patienceMs = 30_000;

let database: TestDatabase;
let admin: pg.Pool;
let consumers: readonly TestService[];
const relays: TestService[] = [];
const counts = { relaysStarted: 0, sessionsKilled: 0, freezes: 0 };

beforeAll(async () => {
  database = await createHandledDatabase("outbox_stress", { poolSizeMax: 40 });
  admin = new pg.Pool({ connectionString: database.url, max: 3, application_name: "stress admin" });
  consumers = [1, 2].map(() => createTestService({ pool: database.pool, relay: false }));
  for (const { dure } of consumers) {
    dure.on(stepTaken, {}, handleInto("steps"));
    await dure.start();
  }
});
afterAll(async () => {
  for (const service of [...relays, ...consumers]) await service.stop();
  await admin.end();
  await database[Symbol.asyncDispose]();
});

async function startRelay(batchSizeMax: number): Promise<void> {
  const relay = createTestService({
    pool: database.pool,
    relay: { leaseMs, batchSizeMax, pollMsMax: 100 },
  });
  relays.push(relay);
  await relay.dure.start().catch(async () => {
    // Its session was killed while it started: the next one will do.
    relays.splice(relays.indexOf(relay), 1);
    await relay.stop();
  });
  counts.relaysStarted += 1;
}

async function startRelayProcess(): Promise<SpawnedChild> {
  const plan: ChildPlan = { url: database.url, relays: true, batchSizeMax: 100 };
  const child = spawnChild(new URL("../crash/service-child.ts", import.meta.url), {
    env: { DURE_CHILD_PLAN: JSON.stringify(plan) },
    lifeMsMax: 3_600_000,
  });
  await child.waitForMessage(hasField("event"));
  counts.relaysStarted += 1;
  return child;
}

/** One relay comes and the oldest goes, again and again. */
async function relaysComeAndGo(signal: AbortSignal): Promise<void> {
  const random = randomFrom(seed);
  await startRelay(200);
  while (!signal.aborted) {
    await startRelay(1 + Math.floor(random() * 400));
    await pause(isLong ? 5_000 : 1_000, signal);
    if (relays.length > 1) await relays.shift()?.stop();
  }
}

/** A relay in a process of its own freezes past its lease, thaws, and in the end is killed; then another. */
async function relaysFreezeAndDie(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await using child = await startRelayProcess().catch(() => undefined);
    for (let freeze = 0; freeze < 3 && child !== undefined; freeze += 1) {
      await pause(isLong ? 4_000 : 500, signal);
      child.kill("SIGSTOP");
      counts.freezes += 1;
      await delay(leaseMs * 1.5);
      child.kill("SIGCONT");
    }
    await pause(500, signal);
  }
}

async function sessionsAreKilled(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { rows } = await admin.query<{ killed: boolean }>(
      `select pg_terminate_backend(pid) as killed from pg_stat_activity
       where datname = current_database() and backend_type = 'client backend' and application_name <> 'stress admin'
       order by random() limit 1`,
    );
    counts.sessionsKilled += rows.filter(({ killed }) => killed).length;
    await pause(isLong ? 2_000 : 400, signal);
  }
}

/** For whoever watches a long run. */
async function progressIsSaid(signal: AbortSignal): Promise<void> {
  for (let minutes = 1; isLong; minutes += 1) {
    await pause(60_000, signal);
    if (signal.aborted) return;
    const committed = await countOf("sum(n) from counter");
    const handled = await countOf("count(*) from handled");
    console.log(`after ${minutes} min: ${committed} committed, ${handled} handled`);
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  delay(ms, undefined, { signal }).catch(() => {}); // woken early is fine

async function countOf(sql: string): Promise<number> {
  const { rows } = await admin.query<{ count: string }>(`select (select ${sql})::text as count`);
  return Number(rows[0]?.count);
}

/** Resolves when all are handled, or when nothing has been for too long. */
async function waitWhileHandling(goal: number): Promise<void> {
  let [before, movedAt] = [-1, performance.now()];
  while (before < goal && performance.now() - movedAt < patienceMs) {
    await delay(isLong ? 2_000 : 100);
    const now = await countOf("count(*) from handled");
    if (now !== before) movedAt = performance.now();
    before = now;
  }
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
  it(
    `loses none of ${eventCount} events and confuses no key's order (DURE_STRESS_SEED=${seed})`,
    { timeout: 120_000 + eventCount * 10 },
    async () => {
      const startedAt = performance.now();
      const [writing] = consumers;
      if (writing === undefined) throw new Error("no service to write by");
      const writers = await createHostileWriters(admin, {
        url: database.url,
        design: dureOutbox(writing, database.pool),
        seed,
      });
      const over = new AbortController();
      const chaos = [relaysComeAndGo, relaysFreezeAndDie, sessionsAreKilled, progressIsSaid].map(
        (disturb) => disturb(over.signal),
      );
      const disturbed = Promise.all(chaos);
      disturbed.catch(() => {}); // seen below, after the writers have come to an end
      await writers.write(eventCount).finally(() => over.abort());
      await disturbed;
      await waitWhileHandling(await countOf("sum(n) from counter"));
      const seconds = (performance.now() - startedAt) / 1_000;
      const { rows } = await admin.query<Verdict>(verdict);
      const [found] = rows;
      const { prepared, rolledBack } = writers.ledger;
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
