/** A manual clock moves when it is told to, and only then. */
import { expect, it } from "vitest";
import { manualClock } from "./manual-clock.ts";

it("ends the sleeps that are over, the shortest first, and no other", async () => {
  const clock = manualClock();
  const woken: string[] = [];
  const long = clock.sleep(30).then(() => woken.push("long"));
  const short = clock.sleep(10).then(() => woken.push("short"));
  void clock.sleep(1_000).then(() => woken.push("never"));
  clock.advance(9);
  expect(clock.sleeperCount).toBe(3);
  clock.advance(21);
  await Promise.all([long, short]);
  expect(woken).toEqual(["short", "long"]);
  expect(clock.sleeperCount).toBe(1);
});

it("moves now and monotonic together, and refuses to go back", () => {
  const clock = manualClock({ startsAt: 1_000 });
  clock.advance(250);
  expect([clock.now(), clock.monotonic()]).toEqual([1_250, 250]);
  expect(() => clock.advance(-1)).toThrow(RangeError);
});

it("ends a sleep whose signal aborts, before it or during it", async () => {
  const clock = manualClock();
  const stop = new AbortController();
  const sleep = clock.sleep(10, stop.signal);
  stop.abort();
  await sleep;
  await clock.sleep(10, stop.signal);
  await clock.sleep(0);
  expect(clock.sleeperCount).toBe(0);
});

it("gives the same numbers in [0, 1) for the same seed", () => {
  const numbers = (seed: number): number[] => {
    const clock = manualClock({ seed });
    return Array.from({ length: 100 }, () => clock.random());
  };
  expect(numbers(7)).toEqual(numbers(7));
  expect(numbers(7)).not.toEqual(numbers(8));
  expect(numbers(7).every((x) => x >= 0 && x < 1)).toBe(true);
});
