/** Optimistic work is tried again after a conflict, a bounded number of times, and after nothing else. */
import { describe, expect, it } from "vitest";
import { withOptimisticRetry } from "../postgres/index.ts";
import type { Clock } from "../core/clock.ts";
import { VersionConflictError } from "./version-conflict.ts";

/** A clock whose pauses are over at once, and remembered. */
function instantClock(randoms: readonly number[] = []): {
  readonly clock: Pick<Clock, "random" | "sleep">;
  readonly pauses: number[];
} {
  const pauses: number[] = [];
  const left = [...randoms];
  const sleep = (ms: number) => Promise.resolve(void pauses.push(ms));
  return { pauses, clock: { random: () => left.shift() ?? 0.5, sleep } };
}

const conflict = () =>
  new VersionConflictError({ table: "product", id: "7", expectedVersion: 3, currentVersion: 4 });
const sqlError = (code: string) => Object.assign(new Error("from the driver"), { code });

/** Work that fails with these errors, one after the other, and then succeeds. */
function failing(...errors: readonly Error[]): {
  readonly attempts: number[];
  readonly work: (attempt: { readonly attempt: number }) => Promise<string>;
} {
  const attempts: number[] = [];
  return {
    attempts,
    work({ attempt }) {
      attempts.push(attempt);
      const error = errors[attempt - 1];
      return error === undefined ? Promise.resolve("done") : Promise.reject(error);
    },
  };
}

describe("withOptimisticRetry", () => {
  it("tries three times in all, with pauses between 20 and 80 ms, and passes the last conflict on", async () => {
    const { clock, pauses } = instantClock([0, 0.9999]);
    const { work, attempts } = failing(conflict(), conflict(), conflict());
    await expect(withOptimisticRetry(work, { clock })).rejects.toMatchObject({
      code: "VERSION_CONFLICT",
      table: "product",
      id: "7",
      expectedVersion: 3,
      currentVersion: 4,
    });
    expect(attempts).toEqual([1, 2, 3]);
    expect(pauses[0]).toBe(20);
    expect(pauses[1]).toBeCloseTo(80, 1);
    expect(pauses).toHaveLength(2);
  });

  it.each(["40001", "40P01", "55P03"])("tries again after SQLSTATE %s", async (state) => {
    const { work, attempts } = failing(sqlError(state));
    expect(await withOptimisticRetry(work, { clock: instantClock().clock })).toBe("done");
    expect(attempts).toEqual([1, 2]);
  });

  it.each([
    ["a broken rule", sqlError("23505")],
    ["a lost connection, whose COMMIT may have happened", sqlError("08006")],
    ["a time-out of the statement", sqlError("57014")],
    ["a defect", new TypeError("x is undefined")],
  ])("passes %s on at once", async (_, error) => {
    const { work, attempts } = failing(error);
    await expect(withOptimisticRetry(work, { clock: instantClock().clock })).rejects.toBe(error);
    expect(attempts).toEqual([1]);
  });

  it("begins no attempt after its signal has aborted", async () => {
    const reason = new Error("shutting down");
    const stop = new AbortController();
    const { work, attempts } = failing(conflict());
    const clock = { random: () => 0, sleep: () => Promise.resolve(stop.abort(reason)) };
    const options = { clock, signal: stop.signal };
    await expect(withOptimisticRetry(work, options)).rejects.toBe(reason);
    expect(attempts).toEqual([1]);
    await expect(withOptimisticRetry(work, options)).rejects.toBe(reason);
    expect(attempts).toEqual([1]);
  });

  it.each([
    { attempts: 0 },
    { attempts: 101 },
    { attempts: 1.5 },
    { pauseMsMin: 90 },
    { pauseMsMin: -1 },
    { pauseMsMax: Number.NaN },
  ])("refuses %j before the first attempt", async (options) => {
    const { work, attempts } = failing();
    await expect(withOptimisticRetry(work, options)).rejects.toMatchObject({
      code: "CONFIGURATION_INVALID",
    });
    expect(attempts).toEqual([]);
  });
});
