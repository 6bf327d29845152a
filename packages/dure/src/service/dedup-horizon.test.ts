/** A start is refused when dedup records would be gone before the last copy of a message can come (law I2). */
import { describe, expect, it } from "vitest";
import { defaultRetryPolicy } from "../core/backoff.ts";
import { assertDedupHorizon, longestRetryMs } from "./dedup-horizon.ts";

const dayMs = 86_400_000;
const horizon = {
  service: "orders",
  inboxMs: 30 * dayMs,
  transportMs: 7 * dayMs,
  retry: defaultRetryPolicy,
  retryDelaysMs: [],
  redriveWindowMs: 7 * dayMs,
};

describe("the dedup horizon", () => {
  it("is wide enough with the defaults, and just wide enough to the millisecond", () => {
    expect(() => assertDedupHorizon(horizon)).not.toThrow();
    const neededMs = 14 * dayMs + longestRetryMs(defaultRetryPolicy);
    expect(() => assertDedupHorizon({ ...horizon, inboxMs: neededMs })).not.toThrow();
    expect(() => assertDedupHorizon({ ...horizon, inboxMs: neededMs - 1 })).toThrow(
      expect.objectContaining({
        code: "DEDUP_HORIZON_TOO_SHORT",
        message: `"orders" keeps dedup records for 14 days (retention.inboxMs), but a message may come again for 14 days: 7 days that the transport keeps it (retentionMs), 25.4 s of attempts (consumer.retry), 7 days in which it may be redriven (redriveWindowMs). It would be handled twice. Set retention.inboxMs to at least ${neededMs}, or lower the others`,
      }),
    );
  });

  it("is checked as far as it is known", () => {
    const known = { ...horizon, inboxMs: dayMs, redriveWindowMs: 0 };
    expect(() => assertDedupHorizon(known)).toThrow(/7 days that the transport/);
    expect(() => assertDedupHorizon({ ...known, transportMs: undefined })).not.toThrow();
    expect(() => assertDedupHorizon({ ...known, inboxMs: undefined })).not.toThrow();
    const patient = { attempts: 100, baseMs: 60_000, maxMs: 3_600_000 };
    expect(() => assertDedupHorizon({ ...known, transportMs: undefined, retry: patient })).toThrow(
      /3\.9 days of attempts/,
    );
  });

  it("counts the waits between attempts at their ceilings", () => {
    expect(longestRetryMs({ attempts: 1, baseMs: 200, maxMs: 60_000 })).toBe(0);
    expect(longestRetryMs({ attempts: 4, baseMs: 200, maxMs: 500 })).toBe(200 + 400 + 500);
    expect(longestRetryMs(defaultRetryPolicy)).toBe(25_400);
  });
});
