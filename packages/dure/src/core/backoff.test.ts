/** Waits grow to their ceiling, never beyond, and never in step with others. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffMs } from "./backoff.ts";

describe("the wait between attempts", () => {
  it("is a whole number from 0 to the doubled base, and never above the ceiling, for any count of failures", () => {
    const counts = fc.integer({ min: 1, max: 100_000 });
    const parts = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        counts,
        parts,
        fc.integer({ min: 1, max: 10_000 }),
        fc.integer({ min: 1, max: 100_000 }),
        (failures, part, baseMs, maxMs) => {
          const waitMs = backoffMs(failures, { baseMs, maxMs }, { random: () => part });
          expect(Number.isInteger(waitMs)).toBe(true);
          expect(waitMs).toBeGreaterThanOrEqual(0);
          expect(waitMs).toBeLessThanOrEqual(
            Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 60)),
          );
        },
      ),
    );
  });

  it("doubles its ceiling with each failure", () => {
    const nearlyOne = { random: () => 1 - Number.EPSILON };
    const policy = { baseMs: 100, maxMs: 1_000 };
    const waits = [1, 2, 3, 4, 5, 6].map((failures) => backoffMs(failures, policy, nearlyOne));
    expect(waits).toEqual([99, 199, 399, 799, 999, 999]);
  });
});
