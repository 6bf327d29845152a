/**
 * Retry topics on Kafka: a failed message waits elsewhere with growing delays while its key goes on, has its
 * effect once whatever is sent twice, and ends in the topic's dead letters (laws I1, I3, O8).
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Faults, OnOptions } from "../../src/index.ts";
import { noFaults } from "../../src/index.ts";
import {
  findRecord,
  forgetTopics,
  kafkaStartMsMax,
  needsKafka,
  openKafkaTransport,
  openTestKafka,
} from "../support/kafka.ts";
import type { TestKafka } from "../support/kafka.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  emitSteps,
  handleInto,
  numbersByKey,
  stepTaken,
  type TestService,
  waitForHandled,
} from "./service-fixture.ts";

const delaysMs = [200, 500, 1_000];

let kafka: TestKafka;
let database: TestDatabase;
const open: AsyncDisposable[] = [];

beforeAll(async () => {
  kafka = await openTestKafka();
}, kafkaStartMsMax);
afterAll(() => kafka[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await createHandledDatabase("kafka_retry");
});
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
  if (kafka.missing === undefined) await forgetTopics(kafka.brokers);
  await database[Symbol.asyncDispose]();
});

type Handle = Parameters<TestService["dure"]["on"]>[2];

/** A process's worth of a service whose handlers use retry topics, started. */
async function start(
  handlers: readonly (readonly [OnOptions, Handle])[],
  {
    faults = noFaults,
    retryDelaysMs = delaysMs,
  }: { faults?: Faults; retryDelaysMs?: readonly number[] } = {},
): Promise<TestService> {
  const opened = openKafkaTransport(kafka.brokers, { retryDelaysMs });
  const service = createTestService({
    pool: database.pool,
    wrap: () => opened.transport,
    faults,
  });
  open.push(opened, service);
  for (const [options, handle] of handlers) {
    service.dure.on(stepTaken, { retry: "topics", ...options }, handle);
  }
  await service.dure.start();
  return service;
}

describe("a message that fails, with retry topics", () => {
  it("is tried again with growing delays while its key goes on, and ends in the dead letters", async (context) => {
    needsKafka(context, kafka);
    const record = handleInto("steps");
    /** By the failures before it. The first is handled with its batch, and then by itself. */
    const attemptedAt = new Map<number, number>();
    const service = await start([
      [
        {},
        async (message, tx) => {
          const step = message as typeof message & { data: { key: string; n: number } };
          if (step.data.n === 2) {
            attemptedAt.set(message.failures ?? 0, performance.now());
            throw new Error("it smells");
          }
          await record(step, tx as never);
        },
      ],
    ]);
    await emitSteps(service.dure, "k", { to: 5 });
    const rows = await waitForHandled(database.pool, 4);
    expect(numbersByKey(rows)["k"]).toEqual([1, 3, 4, 5]);
    expect(attemptedAt.has(3), "its key did not wait for its last attempt").toBe(false);
    await waitFor(async () => (await service.dure.status()).deadLetters === 1, {
      what: "the dead letter",
    });
    expect([...attemptedAt.keys()]).toEqual([0, 1, 2, 3]);
    const at = (failures: number): number => attemptedAt.get(failures) ?? 0;
    for (const [failures, delayMs] of delaysMs.entries()) {
      const waitedMs = at(failures + 1) - at(failures);
      expect(waitedMs, "not before it is due").toBeGreaterThanOrEqual(delayMs - 2);
    }
    const { order, parkedKeys } = await service.dure.status();
    expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, duplicates: 0 });
    expect(parkedKeys, "the dead letter holds nobody up").toBe(0);
    await expectHeaders();
  });

  it("has its effect once, in its own group only, and lets the key's next ones first", async (context) => {
    needsKafka(context, kafka);
    const attempts = { steps: 0, others: 0 };
    const handle =
      (group: "steps" | "others", failures: number): Handle =>
      async (message, tx) => {
        const step = message as typeof message & { data: { key: string; n: number } };
        if (step.data.n === 1) {
          attempts[group] += 1;
          if (attempts[group] <= failures) throw new Error("not yet");
        }
        await handleInto(group)(step, tx as never);
      };
    const service = await start([
      [{ group: "steps" }, handle("steps", 2)],
      [{ group: "others" }, handle("others", 0)],
    ]);
    await emitSteps(service.dure, "k", { to: 3 });
    const rows = await waitForHandled(database.pool, 3);
    expect(numbersByKey(rows)["k"]).toEqual([2, 3, 1]);
    const others = await waitForHandled(database.pool, 3, { consumer: "others" });
    expect(numbersByKey(others)["k"]).toEqual([1, 2, 3]);
    expect(attempts).toEqual({ steps: 3, others: 1 });
    expect((await service.dure.status()).order).toMatchObject({
      steps: { duplicates: 0, gaps: 0, reorders: 0 },
      others: { duplicates: 0, gaps: 0, reorders: 0 },
    });
  });

  it("that a process sent there and did not live to record comes twice and has its effect once", async (context) => {
    needsKafka(context, kafka);
    let fails = true;
    const record = handleInto("steps");
    const handle: Handle = async (message, tx) => {
      if (fails) throw new Error("not yet");
      await record(message as never, tx as never);
    };
    const never = Promise.withResolvers<void>();
    const sent = Promise.withResolvers<void>();
    const dying = await start([[{}, handle]], {
      faults: {
        async hit(point) {
          if (point !== "inbox.after-retry-sent") return;
          sent.resolve();
          await never.promise;
        },
      },
    });
    await emitSteps(dying.dure, "k", { to: 1 });
    await sent.promise;
    // It goes no further, and leaves its group: as a death, but sooner noticed.
    await dying.dure.stop({ withinMs: 100 });
    await open.splice(0, 1)[0]?.[Symbol.asyncDispose]();
    const survivor = await start([[{}, handle]]);
    // The record that was not committed comes again, fails again, and is sent a second time.
    await waitFor(async () => (await retryRecords()) === 2, { what: "two records of one message" });
    fails = false;
    await emitSteps(survivor.dure, "k", { from: 2, to: 2 });
    const rows = await waitForHandled(database.pool, 2);
    await waitFor(async () => (await survivor.dure.status()).order["steps"]?.duplicates === 1, {
      what: "the copy, dropped",
    });
    expect(rows.map(({ n }) => n).toSorted((a, b) => a - b)).toEqual([1, 2]);
    expect(await waitForHandled(database.pool, 2)).toHaveLength(2);
    never.resolve();
  });
});

/** How many records the first retry topic holds. */
async function retryRecords(): Promise<number> {
  const { admin, transport } = openKafkaTransport(kafka.brokers);
  try {
    const partitions = [0, 1, 2, 3].map((partitionIndex) => ({ partitionIndex, timestamp: -1n }));
    const offsets = await admin.listOffsets({ topics: [{ name: "step-retry-0", partitions }] });
    return offsets
      .flatMap((topic) => topic.partitions)
      .reduce((sum, { offset }) => sum + Number(offset), 0);
  } finally {
    await transport.close();
    await admin.close();
  }
}

async function expectHeaders(): Promise<void> {
  const waited = await findRecord(kafka, "step-retry-1", () => true);
  const of = (name: string): Buffer | undefined => waited.headers.get(name);
  expect(of("kafka_original-topic")?.toString()).toBe("step");
  expect(of("kafka_dlt-original-consumer-group")?.toString()).toBe("steps");
  expect(of("kafka_exception-message")?.toString()).toContain("it smells");
  expect(of("retry_topic-attempts")?.readInt32BE()).toBe(3);
  const dueAt = Number(of("retry_topic-backoff-timestamp")?.readBigInt64BE());
  expect(dueAt).toBeGreaterThan(Number(of("kafka_original-timestamp")?.readBigInt64BE()));
  const letter = await findRecord(kafka, "step-dlt", () => true);
  const original = await findRecord(
    kafka,
    "step",
    ({ partition, offset }) =>
      partition === letter.headers.get("kafka_dlt-original-partition")?.readInt32BE() &&
      offset === letter.headers.get("kafka_dlt-original-offset")?.readBigInt64BE(),
  );
  expect(letter.headers.get("ce_id")).toEqual(original.headers.get("ce_id"));
  expect(letter.headers.get("kafka_dlt-original-topic")?.toString()).toBe("step");
  expect(letter.headers.get("retry_topic-attempts")?.readInt32BE()).toBe(4);
  expect(JSON.parse(letter.value.toString())).toEqual({ key: "k", n: 2 });
}

describe("retry topics are refused", () => {
  const handler = handleInto("steps");

  it("where the transport has none", async () => {
    const service = createTestService({ pool: database.pool });
    open.push(service);
    service.dure.on(stepTaken, { retry: "topics" }, handler);
    await expect(service.dure.start()).rejects.toMatchObject({
      code: "CONFIGURATION_INVALID",
      message: expect.stringContaining(
        '"step.taken" have retry "topics", but the transport',
      ) as string,
    });
  });

  it("where handlers of one type in one group disagree, or the key is to be held", async () => {
    const service = createTestService({ pool: database.pool });
    open.push(service);
    service.dure.on(stepTaken, { retry: "topics" }, handler);
    service.dure.on(stepTaken, {}, handler);
    await expect(service.dure.start()).rejects.toThrow(/disagree/);
    expect(() => {
      service.dure.on(stepTaken, { retry: "topics", whenPoisoned: "park-key" }, handler);
    }).toThrow(/Leave out one of them/);
  });
});
