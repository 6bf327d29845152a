/** Keys in Redis: the same answers as on PostgreSQL, and the weaker promise as it is documented (laws H1, H2, H4 within their limits). */
import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../../src/http/fetch/index.ts";
import type { FetchInput } from "../../src/http/fetch/index.ts";
import type { IdempotencyOptions, Reply } from "../../src/idempotency/index.ts";
import { type RedisClient, redisIdempotency, type RedisKeyedWork } from "../../src/redis/index.ts";
import { needRedis, ownRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";
import { waitFor } from "../support/wait-for.ts";
import { order } from "./keyed-orders.ts";

let redis: TestRedis | undefined;
beforeAll(async () => {
  redis = await startTestRedis({ appendFsync: "off" });
});
afterAll(async () => redis?.[Symbol.asyncDispose]());

const connections = {
  async redis(url: string) {
    const client = createClient({ url });
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

type Handle = (input: FetchInput<RedisKeyedWork>) => Promise<Reply>;

describe.each(Object.entries(connections))("with a client of %s", (_, connect) => {
  let client: RedisClient;
  let close: () => void = () => {};
  let prefix: string;
  let effects: string[];
  beforeEach(async (context) => {
    ({ client, close } = await connect(needRedis(context, redis).url));
    prefix = `keys-test:${randomUUID()}:`;
    effects = [];
  });
  afterEach(() => close());

  const key = { "idempotency-key": "k" };
  /** A process of its own, as far as memory goes. */
  const route = (
    handle: Handle = () => Promise.resolve({ status: 201, body: { n: effects.length } }),
    options: Partial<IdempotencyOptions<Request>> = {},
  ) =>
    idempotent(
      redisIdempotency({ client, prefix }),
      {
        principal: (request) => request.headers.get("tenant") ?? "",
        waitMsMax: 20_000,
        ...options,
      },
      async (input) => {
        effects.push(((await input.request.json()) as { item: string }).item);
        return handle(input);
      },
    );

  it("a repeat gets the same, another payload 422, another principal its own", async () => {
    const first = await route()(order("tea", key));
    const again = await route()(order("tea", key));
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(await again.text()).toBe(await first.text());
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect((await route()(order("milk", key))).status).toBe(422);
    expect((await route()(order("tea", { ...key, tenant: "b" }))).status).toBe(201);
    expect(effects).toEqual(["tea", "tea"]);
  });

  it("requests at once have one effect and one answer, and another payload is never told to wait", async () => {
    const routes = Array.from({ length: 8 }, () => route());
    for (let round = 1; round <= 10; round += 1) {
      effects = [];
      const sent = { "idempotency-key": `round-${round}` };
      const responses = await Promise.all(
        routes.flatMap((post) => ["tea", "milk"].map((item) => post(order(item, sent)))),
      );
      const winner = effects[0] === "tea" ? 0 : 1;
      expect(effects).toHaveLength(1);
      expect(responses.map(({ status }) => status)).toEqual(
        responses.map((__, at) => (at % 2 === winner ? 201 : 422)),
      );
    }
  });

  it("an answer that is not stored, and an error, free the key at once", async () => {
    const replies = [503, 0, 201];
    const post = route(async () => {
      const status = replies.shift() ?? 500;
      if (status === 0) throw new Error("no luck");
      return { status };
    });
    expect((await post(order("tea", key))).status).toBe(503);
    await expect(post(order("tea", key))).rejects.toThrow("no luck");
    expect((await post(order("tea", key))).status).toBe(201);
    expect(effects).toEqual(["tea", "tea", "tea"]);
  });

  it("an owner that is slower than its lease is overtaken: both do it, only one is stored, and the fence tells which is newer", async () => {
    const fences: (string | undefined)[] = [];
    const thawed = Promise.withResolvers<void>();
    const slow = route(
      async ({ fence, signal }) => {
        fences.push(fence);
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        await thawed.promise;
        return { status: 200, body: "slow" };
      },
      { leaseMs: 300 },
    )(order("tea", key));
    slow.catch(() => undefined);
    await waitFor(() => fences.length === 1, { what: "the slow owner" });
    const fast = await route(async ({ fence }) => {
      fences.push(fence);
      return { status: 200, body: "fast" };
    })(order("tea", key));
    thawed.resolve();
    await expect(slow).rejects.toMatchObject({ code: "TRANSACTION_TIMED_OUT" });
    expect(await fast.text()).toBe("fast");
    expect(await (await route()(order("tea", key))).text()).toBe("fast");
    expect(effects).toEqual(["tea", "tea"]);
    expect(Number(fences[1])).toBeGreaterThan(Number(fences[0]));
  });

  it("data that is lost is forgotten: a repeat does it again, under a greater fence", async (context) => {
    const server = ownRedis(context, redis);
    const fences: number[] = [];
    const post = route(async ({ fence }) => {
      fences.push(Number(fence));
      return { status: 201 };
    });
    await post(order("tea", key));
    await server.flush();
    expect((await post(order("tea", key))).headers.get("idempotent-replayed")).toBeNull();
    expect(effects).toEqual(["tea", "tea"]);
    expect(fences[1]).toBeGreaterThan(fences[0] ?? Infinity);
  });
});
