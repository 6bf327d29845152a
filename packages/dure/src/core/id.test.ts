/** Ids are UUIDs of version 7: well formed, in order of their millisecond, and never the same twice. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { systemClock } from "./clock.ts";
import { newId } from "./id.ts";

const at = (now: number) => ({ ...systemClock, now: () => now });

describe("a new id", () => {
  it("is a UUID of version 7 that begins with its time", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 48 - 1 }), (now) => {
        const id = newId(at(now));
        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)).toBe(now);
      }),
    );
  });

  it("is never the same twice, also within one millisecond and beyond one draw of random bytes", () => {
    const clock = at(1_700_000_000_000);
    const ids = Array.from({ length: 20_000 }, () => newId(clock));
    expect(new Set(ids).size).toBe(ids.length);
  });
});
