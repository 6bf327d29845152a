/** A seed decides the whole schedule, and each schedule keeps its promises. */
import { describe, expect, test } from "vitest";
import { describeFault, scheduleOf } from "./schedule.ts";
import type { BrokerKind, Disturbance } from "./schedule.ts";

const minuteMs = 60_000;
const seeds = Array.from({ length: 50 }, (_, at) => at + 1);

test("the same seed gives the same schedule, another one another", () => {
  const of = (seed: number) => scheduleOf({ seed, durationMs: 5 * minuteMs, broker: "kafka" });
  expect(of(7)).toEqual(of(7));
  expect(of(7)).not.toEqual(of(8));
});

describe.each<BrokerKind>(["postgres", "kafka", "redis"])("with %s", (broker) => {
  const all = (durationMs: number): readonly (readonly Disturbance[])[] =>
    seeds.flatMap((seed) => scheduleOf({ seed, durationMs, broker }));

  test.each([0.5, 3, 30])(
    "in %d minutes nothing overlaps in its lane or outlasts the time",
    (minutes) => {
      for (const lane of all(minutes * minuteMs)) {
        expect(lane.length).toBeGreaterThan(0);
        for (const [at, { atMs, durationMs }] of lane.entries()) {
          const next = lane[at + 1]?.atMs ?? minutes * minuteMs;
          expect(atMs + durationMs).toBeLessThanOrEqual(next);
        }
      }
    },
  );

  test("ten minutes of any seed have every kind of fault, and no outage is over a minute", () => {
    const common =
      "kill freeze stop-database crash-database end-sessions delay cut silence refuse abandon";
    const own = broker === "postgres" ? ["cut-off-broker"] : ["kill-broker", "freeze-broker"];
    for (const seed of seeds) {
      const found = scheduleOf({ seed, durationMs: 10 * minuteMs, broker }).flat();
      const kinds = new Set(found.map(({ fault }) => fault.kind));
      expect([...kinds].sort()).toEqual([...common.split(" "), ...own].sort());
      expect(Math.max(...found.map(({ durationMs }) => durationMs))).toBeLessThanOrEqual(minuteMs);
    }
  });

  test("who is frozen is frozen past its lease of 5 s", () => {
    const frozen = all(10 * minuteMs)
      .flat()
      .filter(({ fault }) => fault.kind === "freeze");
    expect(Math.min(...frozen.map(({ durationMs }) => durationMs))).toBeGreaterThan(5_000);
  });
});

test("a fault is described by what it hits", () => {
  expect(describeFault({ kind: "kill", service: "order", pick: 3 })).toBe("kill order");
  expect(describeFault({ kind: "cut", link: "order→database" })).toBe("cut order→database");
  expect(describeFault({ kind: "kill-broker" })).toBe("kill broker");
});
