/** A topic that is out is asked with one message at a time, ever more rarely up to the limit, and forgotten when it answers. */
import { describe, expect, it } from "vitest";
import { manualClock } from "../testing/manual-clock.ts";
import { TopicBackoff } from "./topic-backoff.ts";

describe("topics that are out", () => {
  it("are news once, left alone until their time, and back when they answer", () => {
    const clock = { ...manualClock(), random: () => 0.999, now: 0, monotonic: () => at };
    let at = 0;
    const topics = new TopicBackoff({ baseMs: 100, maxMs: 400 }, { ...clock, now: () => at });
    expect(topics.nextProbeAt).toBe(Infinity);
    expect([topics.fail("a"), topics.fail("b"), topics.fail("b")]).toEqual([true, true, false]);
    expect(topics.topics()).toEqual({ closed: ["a", "b"], probed: [] });
    expect(topics.nextProbeAt).toBe(99);
    at = 99;
    expect(topics.topics()).toEqual({ closed: ["b"], probed: ["a"] });
    expect([topics.isOut("a"), topics.isOut("c")]).toEqual([true, false]);
    expect([topics.recover("a"), topics.recover("a")]).toEqual([true, false]);
    expect(topics.isOut("a")).toBe(false);
    for (let failures = 3; failures <= 60; failures += 1) topics.fail("b");
    expect(topics.nextProbeAt).toBe(99 + 399);
    expect(topics.fail("a")).toBe(true);
  });
});
