/** Every transport of the library keeps the same promises, and the suite sees one that does not. */
import { AssertionError } from "node:assert";
import {
  AclOperations,
  AclPermissionTypes,
  ResourcePatternTypes,
  ResourceTypes,
} from "@platformatic/kafka";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { memoryTransport } from "../../src/memory/index.ts";
import { postgresTransport } from "../../src/postgres/index.ts";
import { redisStreamsTransport } from "../../src/redis/index.ts";
import { streamNames } from "../../src/redis/stream-names.ts";
import { transportContract } from "../../src/testing/index.ts";
import type { Transport } from "../../src/index.ts";
import {
  kafkaStartMsMax,
  needsKafka,
  openKafkaTransport,
  openTestKafka,
} from "../support/kafka.ts";
import type { TestKafka, TestKafkaTransport } from "../support/kafka.ts";
import { connectRedis, type RedisConnection } from "../support/redis-connection.ts";
import { needRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";
import { createTestDatabase } from "../support/test-database.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { brokenTransports } from "./broken-transports.ts";

/** A switch for topics. */
function outages() {
  const outTopics = new Set<string>();
  return {
    outTopics,
    outage: (topic: string) => {
      outTopics.add(topic);
      return Promise.resolve(() => Promise.resolve(void outTopics.delete(topic)));
    },
  };
}

describe("memoryTransport", () => {
  // Nobody can take over a shard inside one process's memory.
  const features = { fences: false };
  it.each(transportContract)("$name", ({ run }) => {
    const { outTopics, outage } = outages();
    const transport = memoryTransport({ isOut: (topic) => outTopics.has(topic) });
    return run({ transport, features, outage });
  });
});

describe("postgresTransport", () => {
  let database: TestDatabase;
  let transport: Transport;

  beforeAll(async () => {
    database = await createTestDatabase({ name: "transport contract" });
    transport = postgresTransport({ pool: database.pool, leaseMs: 3_000 });
  });

  afterAll(async () => {
    await transport?.close();
    await database?.[Symbol.asyncDispose]();
  });

  it.each(transportContract)("$name", ({ run }) => run({ transport }));
});

describe("kafkaTransport", () => {
  // Kafka knows no epochs of shards: what a late relay sends is a copy.
  const features = { fences: false };
  let kafka: TestKafka;
  let opened: TestKafkaTransport;

  beforeAll(async () => {
    kafka = await openTestKafka();
    if (kafka.missing === undefined) opened = openKafkaTransport(kafka.brokers);
  }, kafkaStartMsMax);

  afterAll(async () => {
    await opened?.[Symbol.asyncDispose]();
    await kafka?.[Symbol.asyncDispose]();
  });

  /** By the word of its administrator. */
  async function outage(topic: string): Promise<() => Promise<void>> {
    const everyone = {
      resourceType: ResourceTypes.TOPIC,
      resourceName: topic,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: "User:ANONYMOUS",
      host: "*",
    };
    const { ALL, WRITE } = AclOperations;
    const { ALLOW, DENY } = AclPermissionTypes;
    const denied = { ...everyone, operation: WRITE, permissionType: DENY };
    await opened.admin.createAcls({
      creations: [{ ...everyone, operation: ALL, permissionType: ALLOW }, denied],
    });
    return async () => void (await opened.admin.deleteAcls({ filters: [denied] }));
  }

  it.for(transportContract)("$name", async ({ run }, context) => {
    needsKafka(context, kafka);
    await run({ transport: opened.transport, features, outage });
  });
});

describe.each(["redis", "ioredis"] as const)("redisStreamsTransport on a client of %s", (kind) => {
  let redis: TestRedis | undefined;
  let connection: RedisConnection | undefined;
  let transport: Transport;
  const partitions = 8;
  const prefix = `contract-${kind}`;

  beforeAll(async () => {
    redis = await startTestRedis();
    if (redis === undefined) return;
    connection = await connectRedis(redis.url, kind);
    transport = redisStreamsTransport({ ...connection, prefix, partitions, leaseMs: 3_000 });
  });
  beforeEach((context) => void needRedis(context, redis));
  afterAll(async () => {
    await transport?.close();
    await connection?.close();
    await redis?.[Symbol.asyncDispose]();
  });

  // What is no stream takes no entry.
  const outage = async (topic: string): Promise<() => Promise<void>> => {
    const keys = Array.from({ length: partitions }, (_, partition) =>
      streamNames(prefix).stream(topic, partition),
    );
    for (const key of keys) await connection?.send("RENAMENX", key, `${key}:aside`);
    for (const key of keys) await connection?.send("SET", key, "no stream");
    return async () => {
      for (const key of keys) await connection?.send("RENAME", `${key}:aside`, key);
    };
  };
  it.each(transportContract)("$name", ({ run }) => run({ transport, outage }));
});

describe("a transport that breaks a promise is found out", () => {
  it.each(brokenTransports)("$name", async ({ make, isCaughtBy, features, hasOutages }) => {
    const failed: string[] = [];
    const subject = {
      patienceMs: 400,
      quietMs: 30,
      ...(hasOutages === true && { outage: outages().outage }),
      features: { fences: false, ...features },
    };
    for (const { name, run } of transportContract) {
      const error: unknown = await run({ transport: make(), ...subject }).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) continue;
      expect(error, name).toBeInstanceOf(AssertionError);
      failed.push(name);
    }
    expect(failed).toEqual(expect.arrayContaining([...isCaughtBy]));
    expect(failed.length, "what it keeps is seen to be kept").toBeLessThan(
      transportContract.length,
    );
  });
});
