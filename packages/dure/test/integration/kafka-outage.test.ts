/**
 * With Kafka killed or frozen, business goes on; afterwards everything drains, in order per key (laws O4, X3).
 * The long form: DURE_OUTAGE_EVENTS=10000 DURE_OUTAGE_MS=60000.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/index.ts";
import {
  forgetTopics,
  kafkaStartMsMax,
  needsKafka,
  openKafkaTransport,
  openTestKafka,
} from "../support/kafka.ts";
import type { TestKafka, TestKafkaTransport } from "../support/kafka.ts";
import type { TestDatabase } from "../support/test-database.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

const eventCount = Number(process.env["DURE_OUTAGE_EVENTS"] ?? 400);
const outageMs = Number(process.env["DURE_OUTAGE_MS"] ?? 2_000);
const timeoutMs = 90_000 + 5 * outageMs;
const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`);
const perKey = Math.ceil(eventCount / keys.length);
const lead = 3;

let kafka: TestKafka;
let opened: TestKafkaTransport | undefined;
let database: TestDatabase;
let service: TestService | undefined;

beforeAll(async () => {
  kafka = await openTestKafka({ own: true });
}, kafkaStartMsMax);
afterAll(() => kafka[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await createHandledDatabase("kafka_outage");
});
afterEach(async () => {
  await service?.stop();
  await opened?.[Symbol.asyncDispose]();
  if (kafka.missing === undefined) await forgetTopics(kafka.brokers);
  await database[Symbol.asyncDispose]();
});

async function start(): Promise<TestService> {
  opened = openKafkaTransport(kafka.brokers);
  const { transport } = opened;
  const started = createTestService({
    pool: database.pool,
    wrap: () => transport,
    relay: { leaseMs: 1_000, pollMsMax: 100, publishMsMax: Math.min(30_000, outageMs / 2) },
  });
  service = started;
  started.dure.on(stepTaken, {}, handleInto("steps"));
  await started.dure.start();
  await Promise.all(keys.map((key) => emitSteps(started.dure, key, { to: lead })));
  await waitForHandled(database.pool, keys.length * lead, { timeoutMs: 30_000 });
  return started;
}

/** Writes the events evenly over the outage; whatever fails, fails the test. */
async function doBusiness({ dure }: TestService): Promise<readonly number[]> {
  const latencies: number[] = [];
  const startedAt = performance.now();
  await Promise.all(
    keys.map(async (key) => {
      for (let n = 1; n <= perKey; n += 1) {
        const dueAt = startedAt + (outageMs * (n - 1)) / perKey;
        await systemClock.sleep(Math.max(0, dueAt - performance.now()));
        const begunAt = performance.now();
        await emitSteps(dure, key, { from: lead + n, to: lead + n });
        latencies.push(performance.now() - begunAt);
      }
    }),
  );
  return latencies.toSorted((left, right) => left - right);
}

const outages = {
  "is killed and started again": {
    down: () => kafka.server?.kill(),
    up: () => kafka.server?.restart(),
  },
  "is frozen and goes on": {
    down: () => kafka.server?.freeze(),
    up: () => kafka.server?.thaw(),
  },
} as const;

describe("a Kafka that", () => {
  it.for(Object.entries(outages))(
    "%s harms no business transaction, costs no attempt, and gets everything in order afterwards",
    { timeout: timeoutMs },
    async ([name, { down, up }], context) => {
      needsKafka(context, kafka);
      const running = await start();
      const saidBefore = running.logs.length;
      await down();
      const latencies = await doBusiness(running);
      const piledUp = (await running.dure.status()).pending;
      expect(piledUp).toBeGreaterThanOrEqual(keys.length * perKey * 0.9);
      const said = running.logs
        .slice(saidBefore)
        .filter(({ message }) => message.includes("could not publish"));
      // None: on a busy machine the trouble may have begun, and been told, before.
      expect(said.length, "said once, not at each try").toBeLessThanOrEqual(1);
      await up();
      const upAt = performance.now();
      const total = keys.length * (perKey + lead);
      const rows = await waitForHandled(database.pool, total, { timeoutMs });
      const drainedMs = Math.round(performance.now() - upAt);
      await waitForDrained(running.dure, { timeoutMs: 30_000 });
      expect(rows).toHaveLength(total);
      expect(disorderedKeys(rows)).toEqual([]);
      const { order, deadLetters, parkedKeys } = await running.dure.status();
      expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, unverified: 0 });
      expect({ deadLetters, parkedKeys }).toEqual({ deadLetters: 0, parkedKeys: 0 });
      if (process.env["DURE_OUTAGE_EVENTS"] !== undefined) {
        const max = Math.round(latencies.at(-1) ?? 0);
        console.log(name, { total, piledUp, outageMs, drainedMs, max, order: order["steps"] });
      }
    },
  );
});
