/**
 * Consumer groups on Kafka: members that come and go lose nothing and repeat no effect (laws I1, I3, O2), and
 * a poison message stays alone (law O8). The long form of the storm: DURE_STORM_MS=60000.
 */
import { inspect } from "node:util";
import { Producer } from "@platformatic/kafka";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { AnyEventDefinition } from "../../src/index.ts";
import { isDureError, PermanentError, systemClock } from "../../src/index.ts";
import {
  findRecord,
  forgetTopics,
  kafkaStartMsMax,
  kafkaUsers,
  needsKafka,
  openKafkaTransport,
  openTestKafka,
} from "../support/kafka.ts";
import type { TestKafka, TestKafkaTransport } from "../support/kafka.ts";
import { leaveOut } from "../support/leave-out.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  numbersByKey,
  stepTaken,
  type TestService,
  waitForHandled,
} from "./service-fixture.ts";

const stormMs = Number(process.env["DURE_STORM_MS"] ?? 9_000);
const changeEveryMs = stormMs >= 60_000 ? 2_000 : 1_500;
const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);

let kafka: TestKafka;
let database: TestDatabase;
const open: AsyncDisposable[] = [];

beforeAll(async () => {
  kafka = await openTestKafka();
}, kafkaStartMsMax);
afterAll(() => kafka[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await createHandledDatabase("kafka_groups");
});
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each[Symbol.asyncDispose]();
  if (kafka.missing === undefined) await forgetTopics(kafka.brokers);
  await database[Symbol.asyncDispose]();
});

interface Member {
  readonly service: TestService;
  readonly opened: TestKafkaTransport;
  leave(): Promise<void>;
}

/** A process's worth of a service: clients of its own, the same database and group. */
async function join(
  relays: boolean,
  handler = handleInto("steps"),
  contracts?: readonly AnyEventDefinition[],
): Promise<Member> {
  const opened = openKafkaTransport(kafka.brokers);
  const service = createTestService({
    pool: database.pool,
    wrap: () => opened.transport,
    ...(!relays && { relay: false }),
    ...(contracts && { contracts }),
  });
  let left: Promise<void> | undefined;
  const leave = (): Promise<void> =>
    (left ??= service.stop().then(() => opened[Symbol.asyncDispose]()));
  open.push({ [Symbol.asyncDispose]: leave });
  service.dure.on(stepTaken, {}, handler);
  await service.dure.start();
  return { service, opened, leave };
}

describe("a group whose members come and go", () => {
  it(
    "loses nothing, has no effect twice, and keeps the order of each key",
    { timeout: 60_000 + 3 * stormMs },
    async (context) => {
      needsKafka(context, kafka);
      const steady = await join(true);
      const until = performance.now() + stormMs;
      let perKey = 0;
      const business = (async () => {
        while (performance.now() < until) {
          perKey += 1;
          const n = perKey;
          await Promise.all(
            keys.map((key) => emitSteps(steady.service.dure, key, { from: n, to: n })),
          );
          await systemClock.sleep(10);
        }
      })();
      const members: Member[] = [];
      let changes = 0;
      while (performance.now() < until) {
        if (members.length < 2) members.push(await join(false));
        else await members.shift()?.leave();
        changes += 1;
        await systemClock.sleep(changeEveryMs);
      }
      await business;
      const total = keys.length * perKey;
      const rows = await waitForHandled(database.pool, total, { timeoutMs: 30_000 });
      expect(changes).toBeGreaterThanOrEqual(3);
      expect(rows).toHaveLength(total);
      expect(disorderedKeys(rows)).toEqual([]);
      for (const { service } of [steady, ...members]) {
        expect((await service.dure.status()).order["steps"]).toMatchObject({ reorders: 0 });
      }
      if (process.env["DURE_STORM_MS"] !== undefined) {
        const { order } = await steady.service.dure.status();
        console.log("storm", { total, changes, order: order["steps"] });
      }
    },
  );
});

describe("a poison message", () => {
  it("holds its key only, and has a copy in the topic's dead letters that says why", async (context) => {
    needsKafka(context, kafka);
    const record = handleInto("steps");
    const { service } = await join(true, async (message, tx) => {
      if (message.data.key === "poison") throw new PermanentError("it smells");
      await record(message, tx);
    });
    await emitSteps(service.dure, "poison", { to: 2 });
    await Promise.all(keys.map((key) => emitSteps(service.dure, key, { to: 5 })));
    const rows = await waitForHandled(database.pool, keys.length * 5);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(numbersByKey(rows)["poison"]).toBeUndefined();
    await waitFor(async () => (await service.dure.status()).deadLetters === 1, {
      what: "the dead letter",
    });
    const letter = await findRecord(kafka, "step-dlt", () => true);
    expect(letter.key.toString()).toBe("poison");
    expect(JSON.parse(letter.value.toString())).toEqual({ key: "poison", n: 1 });
    const header = (name: string): Buffer | undefined => letter.headers.get(name);
    const text = (name: string): string | undefined => header(name)?.toString();
    expect(text("kafka_dlt-original-topic")).toBe("step");
    expect(text("kafka_dlt-original-consumer-group")).toBe("steps");
    expect(text("kafka_dlt-exception-fqcn")).toBe("PERMANENT");
    expect(text("kafka_dlt-exception-message")).toContain("it smells");
    const original = await findRecord(
      kafka,
      "step",
      ({ partition, offset }) =>
        partition === header("kafka_dlt-original-partition")?.readInt32BE() &&
        offset === header("kafka_dlt-original-offset")?.readBigInt64BE(),
    );
    expect(original.headers.get("ce_id")).toEqual(header("ce_id"));
    expect(text("ce_type")).toBe("step.taken");
    expect(text("ce_id")).toMatch(/.+/);
  });

  it("that is no CloudEvent is a dead letter at once, and those behind it go on", async (context) => {
    needsKafka(context, kafka);
    const { service, opened } = await join(true, handleInto("steps"), [stepTaken]);
    await emitSteps(service.dure, "k", { to: 1 });
    await waitForHandled(database.pool, 1);
    await opened.producer.send({
      messages: [{ topic: "step", key: Buffer.from("k"), value: Buffer.from("<xml/>") }],
    });
    await waitFor(async () => (await service.dure.status()).deadLetters === 1, {
      what: "the dead letter",
    });
    await emitSteps(service.dure, "other", { to: 3 });
    expect(numbersByKey(await waitForHandled(database.pool, 4))).toEqual({
      k: [1],
      other: [1, 2, 3],
    });
  });
});

describe("topics", () => {
  it("that are expected are made so, and refused where they are otherwise", async (context) => {
    needsKafka(context, kafka);
    const name = `expected-${systemClock.now()}`;
    const first = openKafkaTransport(kafka.brokers, { topics: { expected: { [name]: 3 } } });
    open.push(first);
    await first.transport.check();
    const { topics } = await first.admin.metadata({ topics: [name] });
    expect(topics.get(name)?.partitionsCount).toBe(3);
    const other = openKafkaTransport(kafka.brokers, {
      topics: { creates: false, expected: { [name]: 6, [`${name}-x`]: 1 } },
    });
    open.push(other);
    const error: unknown = await other.transport.check().catch((reason: unknown) => reason);
    expect(isDureError(error, "CONFIGURATION_INVALID") && error.message).toContain(
      `topic "${name}" has 3 partitions, 6 are expected; topic "${name}-x" is missing`,
    );
    const subscribed = other.transport.subscribe({ group: "g", topics: [`${name}-x`] });
    await expect(subscribed).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  });
});

describe("a broker that asks for a login", () => {
  it("lets in who knows the word, and is unreachable to others, who are not told the word", async (context) => {
    needsKafka(context, kafka);
    const { saslBrokers = [] } = kafka.server ?? {};
    if (saslBrokers.length === 0)
      leaveOut(context, "the broker of DURE_KAFKA_BROKERS has no users");
    const login = (password: string): TestKafkaTransport => {
      const sasl = { mechanism: "PLAIN", username: "dure", password };
      const opened = openKafkaTransport(saslBrokers, { connection: { sasl, retries: 2 } });
      open.push(opened);
      return opened;
    };
    const [password = ""] = Object.values(kafkaUsers);
    await login(password).transport.check();
    const error: unknown = await login("guessed-word")
      .transport.check()
      .catch((reason: unknown) => reason);
    expect(isDureError(error, "BROKER_UNAVAILABLE") && error.message).toMatch(/authentication/i);
    expect(inspect(error)).not.toContain("guessed-word");
  });
});

describe("a subscription", () => {
  it("reads no further than its limit until there is room, and says how far it is behind", async (context) => {
    needsKafka(context, kafka);
    const fetch = { bufferedMax: 5, partitionBytesMax: 2_000 };
    const opened = openKafkaTransport(kafka.brokers, { fetch });
    open.push(opened);
    const { transport } = opened;
    const { signal } = new AbortController();
    const message = (n: number) => ({
      id: `m-${n}`,
      source: "test",
      topic: "lag",
      key: "k",
      type: "lag.counted",
      version: 1,
      time: "2026-01-01T00:00:00.000Z",
      data: JSON.stringify({ n }),
      link: { kind: "unverified" } as const,
    });
    for (let n = 0; n < 60; n += 1) await transport.publish([message(n)], { fences: [], signal });
    const subscription = await transport.subscribe({ group: "lag", topics: ["lag"] });
    const read = () => subscription.fetch({ busy: new Set(), maxMessages: 1_000, signal });
    const first = await waitFor(async () => (await read())[0], { what: "the first messages" });
    expect(first.deliveries.length).toBeLessThan(30);
    const behind = (): number => transport.lag().reduce((sum, { messages }) => sum + messages, 0);
    expect(behind()).toBe(60);
    const seen: string[] = [];
    await waitFor(
      async () => {
        for (const batch of await read()) {
          seen.push(...batch.deliveries.map((delivery) => delivery.message.id));
          await subscription.acknowledge(batch, batch.deliveries.length);
        }
        return seen.length >= 60;
      },
      { what: "all messages" },
    );
    expect(seen).toEqual(Array.from({ length: 60 }, (_, n) => `m-${n}`));
    expect(transport.lag()).toEqual([{ group: "lag", topic: "lag", messages: 0 }]);
    await subscription.close();
  });
});

/** The client's defect that the guide warns of; should this fail, the warning can go. */
describe("the client", () => {
  it("loses its transactional id at a restart, unless it begins with producer id -1", async (context) => {
    needsKafka(context, kafka);
    const { admin } = openKafkaTransport(kafka.brokers);
    open.push({ [Symbol.asyncDispose]: () => admin.close() });
    await admin.createTopics({ topics: ["tx"], partitions: 1, replicas: 1 }).catch(() => {});
    const send = async (transactionalId: string, more: object): Promise<"sent" | "refused"> => {
      const producer = new Producer({
        clientId: "tx",
        bootstrapBrokers: [...kafka.brokers],
        idempotent: true,
        retries: 2,
        transactionalId,
        ...more,
      });
      try {
        const transaction = await producer.beginTransaction({});
        await transaction.send({ messages: [{ topic: "tx", value: Buffer.from("x") }] });
        await transaction.commit();
        return "sent";
      } catch {
        return "refused";
      } finally {
        await producer.close(true);
      }
    };
    const none = { producerId: -1n, producerEpoch: -1 };
    // Producer id 0, which the defect asks for, belongs to the first.
    await send("zeroth", none);
    expect([await send("plain", {}), await send("plain", {})]).toEqual(["sent", "refused"]);
    expect([await send("cured", none), await send("cured", none)]).toEqual(["sent", "sent"]);
  });
});
