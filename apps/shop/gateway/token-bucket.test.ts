import { expect, test } from "vitest";
import { createTokenBuckets } from "./token-bucket.ts";

let atMs = 0;
const buckets = createTokenBuckets({ burst: 1000, perSecond: 100, nowMs: () => atMs });

/** How many requests pass before the first refusal. */
function drain(principal: string): number {
  for (let count = 0; ; count += 1) if (!buckets.take(principal).isAllowed) return count;
}

test("a burst of 1,000 passes, then 100 a second, and principals do not share", () => {
  expect(drain("ada")).toBe(1000);
  expect(buckets.take("ada")).toEqual({ isAllowed: false, retryAfterMs: 10 });
  atMs += 1000;
  expect(drain("ada")).toBe(100);
  expect(drain("eve")).toBe(1000);
  atMs += 3_600_000;
  expect(drain("ada")).toBe(1000);
});
