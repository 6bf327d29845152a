/**
 * Redis Streams under failure: a member that dies or freezes, members that come and go, trimming, a full stream, and
 * what a dying Redis loses: seen by whoever published it, and sent again from the outbox, in order (laws O2 to O4, O8, X2, X3).
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isDureError } from "../../src/core/errors.ts";
import type { Message, PartitionBatch, Subscription } from "../../src/index.ts";
import { redisStreamsTransport, type RedisStreamsOptions } from "../../src/redis/index.ts";
import { partitionOf, streamNames } from "../../src/redis/stream-names.ts";
import { connectRedis, type RedisConnection } from "../support/redis-connection.ts";
import { needRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";

let redis: TestRedis | undefined;
let prefix = "";
let runs = 0;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  redis = await startTestRedis({ appendFsync: "off" });
});
afterAll(async () => redis?.[Symbol.asyncDispose]());
beforeEach((context) => {
  needRedis(context, redis);
  runs += 1;
  prefix = `streams-${process.pid}-${runs}`;
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp().catch(() => undefined);
});

const steady: AbortSignal = new AbortController().signal;
const partitions = 4;

async function open(options: Partial<RedisStreamsOptions> = {}) {
  const connection: RedisConnection = await connectRedis(redis?.url ?? "");
  const transport = redisStreamsTransport({
    ...connection,
    prefix,
    partitions,
    leaseMs: 600,
    commandMsMax: 500,
    ...options,
  });
  cleanUps.push(
    () => connection.close(),
    () => transport.close(),
  );
  const subscribe = async (group = "readers"): Promise<Subscription> => {
    const subscription = await transport.subscribe({ group, topics: ["t"] });
    cleanUps.push(() => subscription.close());
    return subscription;
  };
  const publish = (messages: readonly Message[]) =>
    transport.publish(messages, { fences: [], signal: steady });
  return { connection, transport, subscribe, publish };
}

function message(key: string, n: number, rest: Partial<Message> = {}): Message {
  return {
    id: `${key}/${n}`,
    source: "s",
    topic: "t",
    key,
    type: "n",
    version: 1,
    time: "2026-01-01T00:00:00.000Z",
    data: String(n),
    link: { kind: "unverified" },
    incarnation: 1,
    ...rest,
  };
}

const keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
const round = (n: number): readonly Message[] => keys.map((key) => message(key, n));
const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, n) => n);
const orderOf = (messages: readonly Message[]): Readonly<Record<string, readonly number[]>> =>
  Object.fromEntries(
    [...Map.groupBy(messages, ({ key }) => key)].map(([key, own]) => [
      key,
      own.map(({ data }) => Number(data)),
    ]),
  );
const everyKey = (expected: readonly number[]) =>
  Object.fromEntries(keys.map((key) => [key, expected]));

async function fetchAll(
  subscription: Subscription,
  count: number,
): Promise<readonly PartitionBatch[]> {
  return waitFor(
    async () => {
      const options = { busy: new Set<number>(), maxMessages: 100, signal: steady };
      const batches = await subscription.fetch(options);
      const found = batches.reduce((sum, { deliveries }) => sum + deliveries.length, 0);
      return found >= count && batches;
    },
    { what: `${count} messages` },
  );
}
const messagesOf = (batches: readonly PartitionBatch[]): readonly Message[] =>
  batches.flatMap(({ deliveries }) => deliveries.map((delivery) => delivery.message));

describe("a member of a group", () => {
  it("that dies leaves what it had taken to the next, before what came later, in order; what it was slow to acknowledge does not come back", async () => {
    const [dying, living] = [await open(), await open()];
    const first = await dying.subscribe();
    for (const n of [0, 1, 2]) await dying.publish(round(n));
    await fetchAll(first, 24);
    await dying.connection.close();
    for (const n of [3, 4]) await living.publish(round(n));
    const second = await living.subscribe();
    const batches = await fetchAll(second, 40);
    expect(orderOf(messagesOf(batches))).toEqual(everyKey([0, 1, 2, 3, 4]));
    for (const batch of batches) await second.acknowledge(batch, batch.deliveries.length);
    await waitFor(async () => (await living.transport.lag())[0]?.messages === 0, {
      what: "no lag",
    });
    // The dead one's name went with what it had.
    const consumers = await living.connection.send(
      "XINFO",
      "CONSUMERS",
      streamNames(prefix).stream("t", partitionOf("a", partitions)),
      "readers",
    );
    expect(consumers).toHaveLength(1);
  });

  it("that was frozen past its lease is given nothing, and so takes nothing away", async () => {
    const [frozen, living] = [await open({ leaseMs: 600_000 }), await open()];
    const first = await frozen.subscribe();
    await frozen.publish(round(0));
    await fetchAll(first, 8);
    // Others took over, and it does not know yet: what stops it is the script.
    const owners = streamNames(prefix).owners("readers");
    for (const partition of numbers(partitions)) {
      await living.connection.send("HSET", owners, String(partition), "somebody-else");
    }
    await living.publish(round(1));
    const options = { busy: new Set<number>(), maxMessages: 100, signal: steady };
    await holdsFor(
      async () => messagesOf(await first.fetch(options)).every(({ data }) => data !== "1"),
      { what: "nothing new for the frozen member", forMs: 800 },
    );
    const { stream } = streamNames(prefix);
    for (const partition of numbers(partitions)) {
      const pending = await living.connection.send("XPENDING", stream("t", partition), "readers");
      const taken = (pending as readonly unknown[])[0];
      const own = keys.filter((key) => partitionOf(key, partitions) === partition).length;
      expect(taken).toBe(own);
    }
  });

  it("may join or leave at any moment: nothing is lost, no key is out of order", async () => {
    const { publish, transport } = await open({ leaseMs: 1_000 });
    const seen = new Map<string, Message>();
    let isOver = false;
    const stable = await transport.subscribe({ group: "readers", topics: ["t"] });
    const work = async (member: Subscription, isDone: () => boolean): Promise<void> => {
      while (!isDone()) {
        const options = { busy: new Set<number>(), maxMessages: 5, signal: steady };
        for (const batch of await member.fetch(options)) {
          // As an inbox does: copies are dropped, the order of the first counts.
          for (const each of messagesOf([batch])) if (!seen.has(each.id)) seen.set(each.id, each);
          await member.acknowledge(batch, batch.deliveries.length);
        }
        await member.wait(5, steady);
      }
      await member.close();
    };
    const rounds = 60;
    const isComplete = (): boolean => seen.size >= rounds * keys.length;
    const working = [work(stable, () => isComplete() || isOver)];
    try {
      for (const n of numbers(rounds)) {
        await publish(round(n));
        if (n % 6 !== 0) continue;
        const guest = await transport.subscribe({ group: "readers", topics: ["t"] });
        const leavesAt = seen.size + 20;
        working.push(work(guest, () => seen.size >= leavesAt || isComplete() || isOver));
      }
      await waitFor(isComplete, { what: `${rounds * keys.length} messages`, timeoutMs: 20_000 });
    } finally {
      isOver = true;
      await Promise.all(working);
    }
    expect(orderOf([...seen.values()])).toEqual(everyKey(numbers(rounds)));
  });
});

describe("trimming", () => {
  it("takes what every group has handled and is old, and nothing that a group needs", async () => {
    const { publish, subscribe, transport, connection } = await open({ retentionMs: 0 });
    const [fast, slow] = [await subscribe("fast"), await subscribe("slow")];
    for (const n of numbers(300)) await publish([message("a", n)]);
    const stream = streamNames(prefix).stream("t", partitionOf("a", partitions));
    const length = async () => Number(await connection.send("XLEN", stream));
    const readAll = async (subscription: Subscription): Promise<void> => {
      for (let read = 0; read < 300;) {
        const batches = await fetchAll(subscription, 1);
        for (const batch of batches) {
          read += batch.deliveries.length;
          await subscription.acknowledge(batch, batch.deliveries.length);
        }
      }
    };
    await readAll(fast);
    await transport.maintain();
    expect(await length()).toBe(300);
    expect(await transport.lag()).toContainEqual({ group: "slow", topic: "t", messages: 300 });
    await readAll(slow);
    // Whole nodes of the stream go, of a hundred entries.
    await waitFor(async () => (await length()) <= 100, { what: "the stream to be trimmed" });
  });

  it("makes room in a full stream, or the topic takes nothing more and says so", async () => {
    const { publish, subscribe } = await open({ streamLengthMax: 300 });
    const reader = await subscribe();
    for (const n of numbers(300)) await publish([message("a", n)]);
    expect(await publish([message("a", 300), message("a", 301)])).toMatchObject([
      { kind: "unavailable", code: "STREAM_FULL" },
      { kind: "unavailable", code: "STREAM_FULL" },
    ]);
    const batches = await fetchAll(reader, 100);
    for (const batch of batches) await reader.acknowledge(batch, batch.deliveries.length);
    await waitFor(async () => (await publish([message("a", 300)]))[0]?.kind === "accepted", {
      what: "room",
    });
  });
});

describe("a publisher", () => {
  it("refuses what is too large for good, with what is behind it of its key", async () => {
    const { publish } = await open();
    const large = { data: JSON.stringify("x".repeat(9 * 1024 * 1024)) };
    const outcomes = await publish([message("a", 1, large), message("b", 1), message("a", 2)]);
    expect(outcomes).toMatchObject([
      { kind: "refused", code: "MESSAGE_TOO_LARGE", isPermanent: true },
      { kind: "accepted" },
      { kind: "refused", isPermanent: false },
    ]);
  });

  const losses = {
    "the whole memory": async ({ send }: RedisConnection, keep: { memory: string }) => {
      // As FLUSHALL, of what is ours.
      const own = await send("KEYS", `{${keep.memory}}*`);
      await send("DEL", ...(own as string[]));
    },
    "one stream": ({ send }: RedisConnection, { stream }: { stream: string }) =>
      send("DEL", stream),
    "the end of a stream": (
      { send }: RedisConnection,
      { stream, copy }: { stream: string; copy: string },
    ) => send("COPY", copy, stream, "REPLACE"),
  };
  it.each(Object.entries(losses))(
    "sees that Redis has lost %s, and all of its source publish nothing until the outbox sends again",
    async (_, lose) => {
      const { publish, connection } = await open();
      const other = await open();
      const stream = streamNames(prefix).stream("t", partitionOf("a", partitions));
      const copy = `{${prefix}}:copy`;
      await publish([message("a", 1)]);
      await connection.send("COPY", stream, copy);
      await publish([message("a", 2)]);
      await lose(connection, { memory: prefix, stream, copy });
      const isLost = (error: unknown): boolean => isDureError(error, "BROKER_DATA_LOST");
      const [first, again] = [publish, publish].map((each) => () => each([message("a", 3)]));
      await expect(first?.()).rejects.toSatisfy(isLost);
      await expect(again?.()).rejects.toSatisfy(isLost);
      // One that has seen nothing itself, for example after a take-over.
      await expect(other.publish([message("a", 3)])).rejects.toSatisfy(isLost);
      const repaired = [1, 2, 3].map((n) => message("a", n, { incarnation: 2 }));
      expect(await other.publish(repaired)).toMatchObject([{}, {}, { kind: "accepted" }]);
      expect(await publish([message("a", 4, { incarnation: 2 })])).toMatchObject([
        { kind: "accepted" },
      ]);
      // Another source is not concerned.
      expect(await other.publish([message("a", 1, { source: "z" })])).toMatchObject([
        { kind: "accepted" },
      ]);
    },
  );
});
