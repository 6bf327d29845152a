/**
 * Services over Redis Streams while Redis is killed under load, loses its memory, and is mended by publishing again
 * from the outbox: nothing is lost, nothing has its effect twice, no key is out of order (laws O2, O3, O4, O8, I1, X3).
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PermanentError } from "../../src/index.ts";
import { redisStreamsTransport } from "../../src/redis/index.ts";
import type { AppendFsync, RedisServer } from "../../../../tools/servers/redis.ts";
import { connectRedis } from "../support/redis-connection.ts";
import { ownRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  collectLogs,
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  numbersByKey,
  stepTaken,
  type TestService,
  type TestServiceOptions,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let readerDatabase: TestDatabase;
let redis: TestRedis | undefined;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  database = await createHandledDatabase("redis_writer");
  readerDatabase = await createHandledDatabase("redis_reader");
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp().catch(() => undefined);
  await redis?.[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await readerDatabase[Symbol.asyncDispose]();
});

const keys = Array.from({ length: 10 }, (_, index) => `key-${index}`);

async function startServer(
  context: Parameters<typeof ownRedis>[0],
  appendFsync: AppendFsync,
): Promise<RedisServer> {
  redis = await startTestRedis({ appendFsync });
  return ownRedis(context, redis);
}

/** A service over Redis; a restart of the server is none of its business. */
async function createService(
  server: RedisServer,
  options: TestServiceOptions,
): Promise<TestService> {
  const connection = await connectRedis(server.url);
  const { lines, logger } = collectLogs();
  const transport = redisStreamsTransport({ ...connection, leaseMs: 1_000, partitions: 8, logger });
  const service = { ...createTestService({ ...options, wrap: () => transport }), logs: lines };
  cleanUps.push(
    () => connection.close(),
    () => transport.close(),
    () => service.stop(),
  );
  return service;
}

async function createPair(server: RedisServer) {
  const writer = await createService(server, { pool: database.pool });
  const reader = await createService(server, { pool: readerDatabase.pool, service: "reader" });
  reader.dure.on(stepTaken, { group: "steps" }, handleInto("steps"));
  return { writer, reader };
}

const emitRound = async ({ dure }: TestService, from: number, to: number): Promise<void> => {
  await Promise.all(keys.map((key) => emitSteps(dure, key, { from, to })));
};
const hasSaidLost = ({ logs }: TestService): boolean =>
  logs.some((line) => JSON.stringify(line).includes("BROKER_DATA_LOST"));
const by = { actor: "ada", reason: "Redis lost its memory" };

describe("a Redis that is killed under load", () => {
  it.for(["always", "everysec"] as const)(
    "and comes back with appendfsync %s: everything is handled once and in order; what was lost is seen and sent again",
    { timeout: 90_000 },
    async (appendFsync, context) => {
      const server = await startServer(context, appendFsync);
      const { writer, reader } = await createPair(server);
      await reader.dure.start();
      await writer.dure.start();
      const since = new Date(0).toISOString();
      for (let round = 0; round < 4; round += 1) {
        const emitting = emitRound(writer, round * 10 + 1, round * 10 + 10);
        await waitForHandled(readerDatabase.pool, round * 100 + 20);
        await server.restart();
        await emitting;
      }
      await waitFor(
        async () => {
          if (hasSaidLost(writer)) {
            writer.logs.length = 0;
            await writer.dure.relay.republish({ ...by, since });
          }
          return (await writer.dure.status()).pending === 0;
        },
        { what: "an empty outbox", timeoutMs: 25_000, intervalMs: 200 },
      );
      const rows = await waitForHandled(readerDatabase.pool, 400, { timeoutMs: 20_000 });
      expect(disorderedKeys(rows)).toEqual([]);
      expect(rows).toHaveLength(400);
      const status = await reader.dure.status();
      expect(status.order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
    },
  );
});

describe("a Redis that forgets everything", () => {
  it("stops the publisher, and after the outbox has sent again every consumer has everything, in order", async (context) => {
    const server = await startServer(context, "off");
    const { writer, reader } = await createPair(server);
    await writer.dure.start();
    await reader.dure.start();
    await emitRound(writer, 1, 3);
    await waitForHandled(readerDatabase.pool, 30);
    // Published, and lost before anybody has read it.
    await reader.stop();
    await emitRound(writer, 4, 6);
    await waitForDrained(writer.dure);
    await server.flush();
    await emitRound(writer, 7, 8);
    await waitFor(() => hasSaidLost(writer), { what: "the loss to be seen" });
    expect((await writer.dure.status()).pending).toBe(20);
    // Beginning with 4: not the first of a stream, so that consumers must know what was before.
    const shards = await writer.dure.relay.republish({ ...by, since: new Date(0).toISOString() });
    expect(shards.reduce((sum, { moved }) => sum + moved, 0)).toBe(80);
    await waitForDrained(writer.dure);
    const next = await createService(server, { pool: readerDatabase.pool, service: "reader" });
    next.dure.on(stepTaken, { group: "steps" }, handleInto("steps"));
    await next.dure.start();
    const rows = await waitForHandled(readerDatabase.pool, 80);
    expect(numbersByKey(rows)).toEqual(
      Object.fromEntries(keys.map((key) => [key, [1, 2, 3, 4, 5, 6, 7, 8]])),
    );
    await emitRound(writer, 9, 9);
    const all = await waitForHandled(readerDatabase.pool, 90);
    expect(disorderedKeys(all)).toEqual([]);
    expect(all).toHaveLength(90);
    expect((await next.dure.status()).order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
    const { rows: audit } = await database.pool.query(
      "select action, subject from dure.audit_entry",
    );
    expect(audit).toMatchObject([{ action: "relay.republish" }]);
  });

  it.for(["flushed", "restored as it was before"] as const)(
    "or has %s, while its publisher is away: the next one sees it before it publishes, and is mended as ever",
    async (what, context) => {
      const server = await startServer(context, "always");
      const older = await mkdtemp(join(tmpdir(), "dure-older-"));
      cleanUps.push(() => rm(older, { recursive: true, force: true }));
      const first = await createPair(server);
      await first.reader.dure.start();
      await first.writer.dure.start();
      await emitRound(first.writer, 1, 2);
      await waitForHandled(readerDatabase.pool, 20);
      await server.stop();
      await cp(server.dataDir, older, { recursive: true });
      await server.start();
      await first.reader.stop();
      await emitRound(first.writer, 3, 4);
      await waitForDrained(first.writer.dure);
      // Both are gone, and nobody who remembers is left.
      await first.writer.stop();
      if (what === "flushed") await server.flush();
      else {
        await server.kill();
        await rm(server.dataDir, { recursive: true });
        await cp(older, server.dataDir, { recursive: true });
        await server.start();
      }
      const { writer, reader } = await createPair(server);
      await reader.dure.start();
      await writer.dure.start();
      // Seen at the start, though nothing is there to be published.
      await waitFor(() => hasSaidLost(writer), { what: "the loss to be seen" });
      await emitRound(writer, 5, 5);
      await holdsFor(async () => (await writer.dure.status()).pending === 10, {
        what: "nothing overtakes what was lost",
        forMs: 300,
      });
      await writer.dure.relay.republish({ ...by, since: new Date(0).toISOString() });
      const rows = await waitForHandled(readerDatabase.pool, 50);
      expect(disorderedKeys(rows)).toEqual([]);
      expect(rows).toHaveLength(50);
    },
  );

  it("while a consumer runs: it joins again and misses nothing", async (context) => {
    const server = await startServer(context, "off");
    const { writer, reader } = await createPair(server);
    await writer.dure.start();
    await reader.dure.start();
    await emitRound(writer, 1, 2);
    await waitForHandled(readerDatabase.pool, 20);
    await server.flush();
    await emitRound(writer, 3, 4);
    await waitFor(() => hasSaidLost(writer), { what: "the loss to be seen" });
    await writer.dure.relay.republish({ ...by, topic: "step", since: new Date(0).toISOString() });
    const rows = await waitForHandled(readerDatabase.pool, 40);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(rows).toHaveLength(40);
    expect(hasSaidLost(reader)).toBe(true);
  });
});

describe("a poison message", () => {
  it("goes to the dead letters, and the other keys flow", async (context) => {
    const server = await startServer(context, "off");
    const writer = await createService(server, { pool: database.pool });
    const reader = await createService(server, { pool: readerDatabase.pool, service: "reader" });
    const handle = handleInto("steps");
    reader.dure.on(stepTaken, { group: "steps" }, (message, tx) => {
      if (message.data.key === "key-3" && message.data.n === 2) throw new PermanentError("poison");
      return handle(message, tx);
    });
    await reader.dure.start();
    await writer.dure.start();
    await emitRound(writer, 1, 4);
    const rows = await waitForHandled(readerDatabase.pool, 37);
    expect(numbersByKey(rows)["key-3"]).toEqual([1]);
    expect(rows).toHaveLength(37);
    expect((await reader.dure.status()).deadLetters).toBe(1);
  });
});
