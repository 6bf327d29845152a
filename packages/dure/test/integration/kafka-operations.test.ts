/** What operations do to a Kafka: TLS, records that are removed before a group has read them, topics that keep messages longer (laws I2, O8). */
import { rm } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { KafkaTransportOptions } from "../../src/kafka/index.ts";
import {
  forgetTopics,
  kafkaStartMsMax,
  makeKey,
  needsKafka,
  openKafkaTransport,
  openTestKafka,
} from "../support/kafka.ts";
import type { TestKafka, TestKafkaTransport } from "../support/kafka.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  collectLogs,
  createHandledDatabase,
  createTestService,
  emitSteps,
  handleInto,
  numbersByKey,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let kafka: TestKafka;
let database: TestDatabase;
const open: AsyncDisposable[] = [];

beforeAll(async () => {
  kafka = await openTestKafka({ own: true, tls: true });
}, kafkaStartMsMax);
afterAll(() => kafka[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await createHandledDatabase("kafka_operations");
});
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
  if (kafka.missing === undefined) await forgetTopics(kafka.brokers);
  await database[Symbol.asyncDispose]();
});

function createService(
  opened: TestKafkaTransport,
  options: { readonly handles?: boolean; readonly relay?: false } = {},
): TestService {
  const service = createTestService({
    pool: database.pool,
    wrap: () => opened.transport,
    ...(options.relay === false && { relay: false }),
  });
  if (options.handles !== false) service.dure.on(stepTaken, {}, handleInto("steps"));
  open.push(service);
  return service;
}

function openTransport(
  options: Partial<KafkaTransportOptions> & { readonly connection?: object } = {},
  brokers = kafka.brokers,
): TestKafkaTransport {
  const opened = openKafkaTransport(brokers, options as Parameters<typeof openKafkaTransport>[1]);
  open.push(opened);
  return opened;
}

describe("a broker that speaks TLS", () => {
  it("is used with its certificate, and refused with another's, which the error says", async (context) => {
    needsKafka(context, kafka);
    const brokers = kafka.server?.tlsBrokers ?? [];
    const secure = (ca: string | undefined) =>
      openTransport({ connection: { tls: { ca }, retries: 1 } }, brokers);
    const { dure } = createService(secure(kafka.certificate));
    await dure.start();
    await emitSteps(dure, "k", { to: 3 });
    expect(numbersByKey(await waitForHandled(database.pool, 3))["k"]).toEqual([1, 2, 3]);

    const stranger = await makeKey();
    await rm(stranger.folder, { recursive: true });
    await expect(secure(stranger.certificate).transport.check()).rejects.toMatchObject({
      code: "BROKER_UNAVAILABLE",
      message: expect.stringMatching(/self-signed certificate|unable to verify/) as string,
    });
    await expect(
      openTransport(
        { connection: { retries: 1, requestTimeout: 1_500 } },
        brokers,
      ).transport.check(),
    ).rejects.toMatchObject({ code: "BROKER_UNAVAILABLE" });
  });
});

describe("records that are removed while their group is away", () => {
  it("are told of, how many by partition, and the group goes on at the first that is there", async (context) => {
    needsKafka(context, kafka);
    const first = openTransport();
    const reader = createService(first);
    await reader.dure.start();
    await emitSteps(reader.dure, "k", { to: 2 });
    await waitForHandled(database.pool, 2);
    await waitFor(() => first.transport.lag().every(({ messages }) => messages === 0), {
      what: "all of it acknowledged",
    });
    await reader.stop();
    await first.transport.close();

    const second = openTransport();
    const writer = createService(second, { handles: false });
    await writer.dure.start();
    await emitSteps(writer.dure, "k", { from: 3, to: 7 });
    await waitForDrained(writer.dure);
    const ends = await second.admin.listOffsets({
      topics: [
        {
          name: "step",
          partitions: [0, 1, 2, 3].map((each) => ({ partitionIndex: each, timestamp: -1n })),
        },
      ],
    });
    const holding = ends
      .flatMap(({ partitions }) => partitions)
      .filter(({ offset }) => offset > 0n);
    expect(holding.map(({ offset }) => offset)).toEqual([7n]);
    const [{ partitionIndex: partition } = { partitionIndex: -1 }] = holding;
    await second.admin.deleteRecords({
      topics: [{ name: "step", partitions: [{ partition, offset: 5n }] }],
    });

    const { lines, logger } = collectLogs();
    const next = createService(openTransport({ logger }), { relay: false });
    await next.dure.start();
    const rows = await waitForHandled(database.pool, 4);
    expect(numbersByKey(rows)["k"]).toEqual([1, 2, 6, 7]);
    const told = lines.filter(({ message }) => message.startsWith("Kafka has removed messages"));
    expect(told).toMatchObject([
      { level: "error", facts: { group: "steps", topic: "step", partition, lost: 3 } },
    ]);
    // What it links to is gone, and was written while nobody of the group lived.
    await waitFor(async () => (await next.dure.status()).order["steps"]?.unverified === 1, {
      what: "the message behind the gap, unverified",
    });
  });
});

describe("how long topics keep messages", () => {
  const dayMs = 86_400_000;

  async function startOn(retentionMs: number): Promise<ReturnType<typeof collectLogs>["lines"]> {
    const { lines, logger } = collectLogs();
    const opened = openTransport({ logger });
    await opened.admin.createTopics({
      topics: ["step"],
      partitions: 4,
      replicas: 1,
      configs: [{ name: "retention.ms", value: String(retentionMs) }],
    });
    await createService(opened).dure.start();
    return lines;
  }

  it("is read at the start: dedup records that would be gone before are refused", async (context) => {
    needsKafka(context, kafka);
    await expect(startOn(40 * dayMs)).rejects.toMatchObject({
      code: "DEDUP_HORIZON_TOO_SHORT",
      message: expect.stringContaining("40 days that the transport keeps it") as string,
    });
  });

  it("for ever is told of, since no dedup record could outlive it", async (context) => {
    needsKafka(context, kafka);
    const lines = await startOn(-1);
    expect(lines).toContainEqual(
      expect.objectContaining({ level: "warn", facts: { topics: "step" } }),
    );
  });
});
