/**
 * A client of `redis` and one of `ioredis` do the same here: replies, errors by their kind, and scripts
 * that Redis has forgotten.
 */
import { Redis } from "ioredis";
import { createClient } from "redis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isDureError } from "../../src/core/errors.ts";
import {
  classifyRedisError,
  isRedisClient,
  redisCommand,
  redisErrorCode,
  redisEval,
  redisScript,
  type RedisClient,
} from "../../src/redis/redis-client.ts";
import { needRedis, ownRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";

let redis: TestRedis | undefined;
beforeAll(async () => {
  redis = await startTestRedis({ appendFsync: "off" });
});
afterAll(async () => redis?.[Symbol.asyncDispose]());

const connections = {
  async redis(url: string) {
    const client = createClient({ url });
    client.on("error", () => {}); // every lost connection says so; commands say so too
    await client.connect();
    return { client, close: () => client.destroy() };
  },
  async "redis in RESP2"(url: string) {
    const client = createClient({ url, RESP: 2 });
    client.on("error", () => {});
    await client.connect();
    return { client, close: () => client.destroy() };
  },
  async ioredis(url: string) {
    const client = new Redis(url, { lazyConnect: true });
    client.on("error", () => {});
    await client.connect();
    return { client, close: () => client.disconnect() };
  },
};

describe.each(Object.entries(connections))("a client of %s", (name, connect) => {
  let client: RedisClient;
  let close: () => void = () => {};
  beforeEach(async (context) => {
    ({ client, close } = await connect(needRedis(context, redis).url));
  });
  afterEach(() => close());
  const key = `client-test:${name}`;
  const failureOf = (command: Promise<unknown>): Promise<unknown> =>
    command.then(
      (reply) => expect.fail(`it answered ${String(reply)}`),
      (error: unknown) => error,
    );

  it("answers commands, in the order of the calls", async () => {
    expect(isRedisClient(client)).toBe(true);
    await redisCommand(client, ["DEL", key]);
    const replies = await Promise.all(
      ["a", "b", "c"].map((each) => redisCommand(client, ["RPUSH", key, each])),
    );
    expect(replies).toEqual([1, 2, 3]);
    expect(await redisCommand(client, ["LRANGE", key, "0", "-1"])).toEqual(["a", "b", "c"]);
  });

  it("passes an error of the command on, with its code", async () => {
    await redisCommand(client, ["SET", key, "text"]);
    const error = await failureOf(redisCommand(client, ["LPUSH", key, "a"]));
    expect(redisErrorCode(error)).toBe("WRONGTYPE");
    expect(classifyRedisError(error)).toBe("wrong");
    expect(isDureError(error)).toBe(false);
    await redisCommand(client, ["DEL", key]);
  });

  it("runs a script again that the server has forgotten, and reads the codes it raises", async () => {
    const script = redisScript("return {KEYS[1], ARGV[1]}");
    const call = { keys: [key], args: ["x"] };
    expect(await redisEval(client, script, call)).toEqual([key, "x"]);
    await redisCommand(client, ["SCRIPT", "FLUSH"]);
    expect(await redisEval(client, script, call)).toEqual([key, "x"]);
    const raising = redisScript("return redis.error_reply('FENCED by epoch 3')");
    const error = await failureOf(redisEval(client, raising, { keys: [], args: [] }));
    expect(redisErrorCode(error)).toBe("FENCED");
  });

  it("tells a server that refuses from one that is silent", async (context) => {
    const server = ownRedis(context, redis);
    await redisCommand(client, ["CONFIG", "SET", "maxmemory", "1"]);
    const refused = await failureOf(redisCommand(client, ["SET", key, "x"]));
    await redisCommand(client, ["CONFIG", "SET", "maxmemory", "0"]);
    expect(isDureError(refused, "REDIS_UNAVAILABLE")).toBe(true);
    expect(classifyRedisError(refused)).toBe("refused");

    server.freeze();
    const silent = await failureOf(redisCommand(client, ["PING"], { timeoutMs: 100 }));
    server.thaw();
    expect(isDureError(silent, "REDIS_UNAVAILABLE")).toBe(true);
    expect(classifyRedisError(silent)).toBe("lost");
    const aborted = await failureOf(
      redisCommand(client, ["PING"], { signal: AbortSignal.abort() }),
    );
    expect(classifyRedisError(aborted)).toBe("lost");
    expect(await redisCommand(client, ["PING"])).toBe("PONG");
  });

  it("loses its connection, says so, and finds the server again", async (context) => {
    const server = ownRedis(context, redis);
    const blocked = failureOf(
      redisCommand(client, ["BLPOP", `${key}:none`, "0"], { timeoutMs: 20_000 }),
    );
    await redisCommand(client, ["PING"], { timeoutMs: 100 }).catch(() => undefined);
    await server.kill();
    if (name !== "ioredis") expect(classifyRedisError(await blocked)).toBe("lost");
    const lost = await failureOf(redisCommand(client, ["PING"], { timeoutMs: 100 }));
    expect(classifyRedisError(lost)).toBe("lost");
    await server.start();
    close();
    ({ client, close } = await connect(server.url));
    expect(await redisCommand(client, ["PING"])).toBe("PONG");
    close();
    const closed = await failureOf(redisCommand(client, ["PING"], { timeoutMs: 100 }));
    expect(classifyRedisError(closed)).toBe("lost");
    if (name === "ioredis") await blocked; // it sends the command again when it is back, until it is closed
  });
});
