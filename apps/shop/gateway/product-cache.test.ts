import { expect, test } from "vitest";
import type { PeerAnswer } from "../chassis/peer-client.ts";
import { createProductCache } from "./product-cache.ts";

const answer = (text: string, status = 200): PeerAnswer => ({ status, headers: {}, text });

test("a product is loaded once, and again after it was invalidated", async () => {
  const cache = createProductCache({ ttlMs: 60_000 });
  let loads = 0;
  const read = () => cache.read("p", async () => answer(String((loads += 1))));
  const texts = (await Promise.all([read(), read(), read()])).map((each) => each.text);
  expect([...texts, (await read()).text]).toEqual(["1", "1", "1", "1"]);
  cache.invalidate("p");
  expect((await read()).text).toBe("2");
});

test("a load that began before the invalidation is not kept and not joined", async () => {
  const cache = createProductCache({ ttlMs: 60_000 });
  const early = Promise.withResolvers<PeerAnswer>();
  const reading = cache.read("p", () => early.promise);
  cache.invalidate("p");
  const later = await cache.read("p", async () => answer("new"));
  early.resolve(answer("old"));
  expect([(await reading).text, later.text]).toEqual(["old", "new"]);
  expect((await cache.read("p", async () => answer("newer"))).text).toBe("new");
});

test("what is no product, or failed, is asked for again", async () => {
  const cache = createProductCache({ ttlMs: 60_000 });
  await cache.read("p", async () => answer("none", 404));
  await expect(cache.read("p", () => Promise.reject(new Error("down")))).rejects.toThrow("down");
  expect((await cache.read("p", async () => answer("there"))).text).toBe("there");
});

test("a cached product is believed for its time only", async () => {
  const cache = createProductCache({ ttlMs: 1 });
  await cache.read("p", async () => answer("old"));
  await expect
    .poll(async () => (await cache.read("p", async () => answer("new"))).text)
    .toBe("new");
});
