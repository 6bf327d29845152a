/**
 * Parked keys, however many and with however much behind them, do not slow the others, on either side; redriven
 * together they all drain, each in order, with their ids (law O8). Full size: DURE_POISON_KEYS=1000
 * DURE_POISON_EVENTS=100000.
 */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PermanentError } from "../../src/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { moodyTransport, refusedForGood } from "./moody-transport.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  handleInto,
  type Step,
  stepTaken,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

const keyCount = Number(process.env["DURE_POISON_KEYS"] ?? 100);
const eventCount = Number(process.env["DURE_POISON_EVENTS"] ?? 5_000);
const perKey = eventCount / keyCount;
const rounds = Number(process.env["DURE_POISON_ROUNDS"] ?? 3);
const healthyKeyCount = 50;
const healthyPerRound = 1_000;
const timeoutMs = 60_000 + eventCount * 20;

/** A service, its database, and what it asks of it. */
interface Subject {
  readonly database: TestDatabase;
  readonly service: TestService;
  readonly statements: string[];
}

let subjects: Subject[];
let isBroken: boolean;

beforeEach(() => {
  subjects = [];
  isBroken = true;
});
afterEach(async () => {
  for (const { service, database } of subjects) {
    await service.stop();
    await database[Symbol.asyncDispose]();
  }
});

const isPoison = ({ key, n }: Step): boolean => isBroken && key.startsWith("bad") && n === 1;

async function start(side: "relay" | "consumer"): Promise<Subject> {
  const database = await createHandledDatabase("poison_scale");
  const statements: string[] = [];
  const service = createTestService({
    pool: watched(database.pool, statements),
    logPool: database.pool,
    consumer: { pollMsMax: 100, concurrency: 4 },
    wrap: (log) =>
      moodyTransport(log, ({ data }) =>
        side === "relay" && isPoison(JSON.parse(data) as Step) ? refusedForGood : undefined,
      ),
  });
  const record = handleInto("steps");
  service.dure.on(stepTaken, {}, async (message, tx) => {
    if (side === "consumer" && isPoison(message.data)) throw new PermanentError("poison");
    await record(message, tx);
  });
  await service.dure.start();
  const subject = { database, service, statements };
  subjects.push(subject);
  return subject;
}

/** The pool, which writes down the names of the library's statements that go through it. */
function watched(pool: pg.Pool, statements: string[]): pg.Pool {
  const query = (text: unknown, ...rest: unknown[]): unknown => {
    const name = /\/\* dure:(\S+) \*\//.exec(String(text))?.[1];
    if (name !== undefined) statements.push(name);
    return (pool.query as (...all: unknown[]) => unknown)(text, ...rest);
  };
  return new Proxy(pool, {
    get: (target, property) =>
      property === "query" ? query : (Reflect.get(target, property, target) as unknown),
  });
}

/** Steps of many keys, 500 in a transaction. */
async function emit({ service }: Subject, steps: readonly Step[]): Promise<void> {
  for (let from = 0; from < steps.length; from += 500) {
    await service.dure.transaction(async (tx) => {
      for (const step of steps.slice(from, from + 500)) tx.emit(stepTaken, step);
    });
  }
}

function stepsOf(prefix: string, keys: number, { from, to }: { from: number; to: number }): Step[] {
  const numbers = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  return numbers.flatMap((n) =>
    Array.from({ length: keys }, (_, index) => ({ key: `${prefix}-${index}`, n })),
  );
}

async function handledCount({ database }: Subject, prefix: string): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    "select count(*)::int as count from handled where key like $1",
    [`${prefix}-%`],
  );
  return rows[0]?.count ?? 0;
}

/** Emits a round of healthy events and resolves to how long it took until all were handled, in milliseconds. */
async function healthyRound(subject: Subject, round: number): Promise<number> {
  const perKeyAndRound = healthyPerRound / healthyKeyCount;
  const from = round * perKeyAndRound + 1;
  const startedAt = performance.now();
  await emit(subject, stepsOf("good", healthyKeyCount, { from, to: from + perKeyAndRound - 1 }));
  const total = (round + 1) * healthyPerRound;
  await waitFor(async () => (await handledCount(subject, "good")) >= total, {
    what: `${total} healthy events`,
    timeoutMs: 60_000,
    intervalMs: 5,
  });
  return performance.now() - startedAt;
}

const median = (values: readonly number[]): number =>
  values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0;

describe.each(["relay", "consumer"] as const)("on the %s's side", (side) => {
  it(
    `${keyCount} parked keys with ${eventCount} events do not slow the others, and drain in order when they are redriven`,
    { timeout: timeoutMs },
    async () => {
      const [poisoned, clean] = [await start(side), await start(side)];
      await emit(poisoned, stepsOf("bad", keyCount, { from: 1, to: 1 }));
      const status = () => poisoned.service.dure.status();
      await waitFor(async () => (await status()).deadLetters === keyCount, {
        what: "the dead letters",
        timeoutMs,
      });
      await emit(poisoned, stepsOf("bad", keyCount, { from: 2, to: perKey }));
      await waitFor(async () => (await status()).waiting === eventCount - keyCount, {
        what: "the events behind them",
        timeoutMs,
      });
      const parkedBefore = await status();

      const times = { poisoned: [] as number[], clean: [] as number[] };
      poisoned.statements.length = 0;
      const startedAt = performance.now();
      for (let round = 0; round < rounds; round += 1) {
        times.poisoned.push(await healthyRound(poisoned, round));
        times.clean.push(await healthyRound(clean, round));
      }
      const elapsedMs = performance.now() - startedAt;
      const counts = new Map(
        [...Map.groupBy(poisoned.statements, (name) => name)].map(([name, own]) => [
          name,
          own.length,
        ]),
      );
      console.log(
        `${side}: ${healthyPerRound} healthy events took ${median(times.poisoned).toFixed(0)} ms beside ${keyCount} parked keys with ${eventCount} events, ${median(times.clean).toFixed(0)} ms without (median of ${rounds}, interleaved)`,
      );

      // The healthy ones drained; the parked stayed as they were.
      expect(await handledCount(poisoned, "good")).toBe(rounds * healthyPerRound);
      expect(await handledCount(poisoned, "bad")).toBe(0);
      expect(await status()).toMatchObject({
        deadLetters: keyCount,
        parkedKeys: keyCount,
        waiting: parkedBefore.waiting,
      });
      // What is parked is looked at now and then, and not with every batch.
      const looks =
        (counts.get("outbox.due") ?? 0) +
        (counts.get("outbox.parked-keys") ?? 0) +
        (counts.get("outbox.parked-among") ?? 0);
      expect(looks).toBeLessThanOrEqual(elapsedMs / 500 + 3);
      for (const name of ["parked.park", "parked.fail", "parked.take"]) {
        expect(counts.get(name) ?? 0, name).toBeLessThanOrEqual(8);
      }
      expect((await status()).order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });

      isBroken = false;
      const redrivenAt = performance.now();
      expect(await poisoned.service.dure.deadLetters.redrive({}, { actor: "ops" })).toBe(keyCount);
      await waitFor(async () => (await handledCount(poisoned, "bad")) >= eventCount, {
        what: "all of the redriven keys",
        timeoutMs,
      });
      const seconds = (performance.now() - redrivenAt) / 1_000;
      console.log(
        `${side}: ${keyCount} redriven keys with ${eventCount} events drained in ${seconds.toFixed(1)} s (${(eventCount / seconds).toFixed(0)} events/s)`,
      );
      const { rows } = await poisoned.database.pool.query<Step & { message_id: string }>(
        "select h.key, h.n, h.message_id from handled h join dure.outbox_message o on o.id::text = h.message_id and o.key = h.key and (o.data::jsonb ->> 'n')::int = h.n where h.key like 'bad-%' order by h.id",
      );
      expect(rows).toHaveLength(eventCount);
      expect(disorderedKeys(rows)).toEqual([]);
      await waitForDrained(poisoned.service.dure);
      await waitFor(async () => (await status()).parkedKeys === 0, { what: "no parked key" });
      expect((await status()).order["steps"]).toMatchObject({
        gaps: 0,
        reorders: 0,
        unverified: 0,
        redriven: side === "relay" ? keyCount : 0,
      });
    },
  );
});
