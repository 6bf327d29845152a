/** The product cache that gateways share in Redis: what one learns or forgets holds for all, and Redis away means loading. */
import { createClient } from "redis";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { TestContext } from "vitest";
import { pino } from "pino";
import { leaveOut } from "../../../tools/servers/leave-out.ts";
import { findRedisServer, redisMissing, startRedisServer } from "../../../tools/servers/redis.ts";
import type { RedisServer } from "../../../tools/servers/redis.ts";
import type { PeerAnswer } from "../chassis/peer-client.ts";
import type { ProductCache } from "./product-cache.ts";
import { createSharedProductCache } from "./shared-product-cache.ts";

const answer = (text: string, status = 200): PeerAnswer => ({ status, headers: {}, text });

let server: RedisServer | undefined;
const cleanUps: (() => void)[] = [];

beforeEach(async (context: TestContext) => {
  if ((await findRedisServer()) === undefined) leaveOut(context, redisMissing);
  server = await startRedisServer();
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  await server?.[Symbol.asyncDispose]();
});

/** A gateway's cache, with a connection of its own. */
async function open(ttlMs = 60_000): Promise<{ cache: ProductCache; warnings: unknown[] }> {
  const client = createClient({
    url: server?.url ?? "",
    disableOfflineQueue: true,
    socket: { reconnectStrategy: 50 },
  });
  client.on("error", () => undefined);
  await client.connect();
  cleanUps.push(() => client.destroy());
  const warnings: unknown[] = [];
  const logger = pino({ level: "warn" }, { write: (line) => void warnings.push(JSON.parse(line)) });
  return { cache: createSharedProductCache({ client, prefix: "test", logger, ttlMs }), warnings };
}

test("what one gateway has loaded, another need not", async () => {
  const [one, other] = [await open(), await open()];
  let loads = 0;
  const load = async () => answer(String((loads += 1)));
  const texts = await Promise.all([one.cache.read("p", load), one.cache.read("p", load)]);
  expect(texts.map(({ text }) => text)).toEqual(["1", "1"]);
  expect((await other.cache.read("p", load)).text).toBe("1");
});

test("what one gateway has forgotten, all have; a load that began before is not kept by any", async () => {
  const [one, other] = [await open(), await open()];
  const early = Promise.withResolvers<PeerAnswer>();
  const begun = Promise.withResolvers<void>();
  const reading = one.cache.read("p", () => {
    begun.resolve();
    return early.promise;
  });
  await begun.promise;
  other.cache.invalidate("p");
  // Commands of a connection are carried out in order: behind this one it is forgotten.
  expect((await other.cache.read("q", async () => answer("q"))).text).toBe("q");
  early.resolve(answer("old"));
  expect((await reading).text).toBe("old");
  expect((await other.cache.read("p", async () => answer("new"))).text).toBe("new");
  expect((await one.cache.read("p", async () => answer("newer"))).text).toBe("new");
});

test("what is no product is asked for again, and what is kept is believed for its time only", async () => {
  const { cache } = await open(1);
  await cache.read("p", async () => answer("none", 404));
  expect((await cache.read("p", async () => answer("there"))).text).toBe("there");
  await expect
    .poll(async () => (await cache.read("p", async () => answer("new"))).text)
    .toBe("new");
});

test("while Redis is away every read loads, which is said once, and afterwards it is shared again", async () => {
  const { cache, warnings } = await open();
  await server?.kill();
  for (const text of ["1", "2", "3"]) {
    expect((await cache.read("p", async () => answer(text))).text).toBe(text);
  }
  expect(warnings).toHaveLength(1);
  await server?.restart();
  const other = await open();
  let tries = 0;
  await expect
    .poll(async () => {
      const product = `p-${(tries += 1)}`;
      await cache.read(product, async () => answer("shared"));
      return (await other.cache.read(product, async () => answer("own"))).text;
    })
    .toBe("shared");
});
