/** Calls to a dependency that fails: what is repeated, what is refused, and why the layers stand in this order. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DureError, PermanentError, RetryableError } from "../core/errors.ts";
import { manualClock } from "../testing/manual-clock.ts";
import type { DependencyOptions } from "./dependency-options.ts";
import { paymentPreset, standardPreset } from "./dependency-options.ts";
import type { LayerName } from "./layers.ts";
import { layerOrder } from "./layers.ts";
import { createResilience, createResilienceInOrder } from "./resilience.ts";
import type { CallContext, Resilience } from "./resilience.ts";
import type { ResilienceEvent } from "./resilience-events.ts";

// The library below goes by the process's timers: the test holds them in its hand.
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const down = (): Promise<never> => Promise.reject(new Error("down"));
const key = { idempotencyKey: "k-1" };
const { retry } = standardPreset;
if (retry === false) throw new Error("the standard retries");
const plenty: DependencyOptions = {
  ...standardPreset,
  retry: { ...retry, budgetReserve: 1_000, budgetShare: 1 },
};

function create(
  api: DependencyOptions = standardPreset,
  order: readonly LayerName[] = layerOrder,
): { readonly calls: Resilience<"api">; readonly events: ResilienceEvent[] } {
  const events: ResilienceEvent[] = [];
  const random = manualClock({ seed: 3 });
  const clock = { random: () => random.random(), monotonic: () => performance.now() };
  const onEvent = (event: ResilienceEvent): void => void events.push(event);
  return {
    calls: createResilienceInOrder({ dependencies: { api }, onEvent, clock }, order),
    events,
  };
}

/** What a call comes to when time passes as it will. */
async function outcome<Value>(promise: Promise<Value>, forMs = 120_000): Promise<unknown> {
  const settled = promise.catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(forMs);
  return settled;
}

const codeOf = (error: unknown): string =>
  error instanceof DureError ? error.code : String(error);

describe("a call", () => {
  it("is repeated with a key or when it is idempotent, and otherwise never", async () => {
    const { calls } = create(plenty);
    const attempts: Pick<CallContext, "attempt" | "idempotencyKey">[] = [];
    const work = ({ attempt, idempotencyKey }: CallContext): Promise<never> => {
      attempts.push({ attempt, idempotencyKey });
      return down();
    };
    expect(await outcome(calls.call("api", work))).toEqual(new Error("down"));
    expect(attempts).toEqual([{ attempt: 1, idempotencyKey: undefined }]);
    await outcome(calls.call("api", work, key));
    expect(attempts.slice(1).map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
    expect(attempts.slice(1).every((each) => each.idempotencyKey === "k-1")).toBe(true);
    await outcome(calls.call("api", work, { isIdempotent: true }));
    expect(attempts).toHaveLength(9);
  });

  it("waits between attempts under a ceiling that doubles, and never less than it was told", async () => {
    const { calls, events } = create(plenty);
    for (let n = 0; n < 15; n += 1) await outcome(calls.call("api", down, key));
    const waits = (attempt: number): readonly number[] =>
      events.flatMap((event) =>
        event.kind === "retried" && event.attempt === attempt ? [event.waitMs] : [],
      );
    for (const [attempt, ceiling] of [
      [2, 100],
      [3, 200],
      [4, 400],
    ] as const) {
      expect(Math.max(...waits(attempt))).toBeLessThan(ceiling);
      expect(Math.max(...waits(attempt))).toBeGreaterThan(ceiling / 2);
      expect(Math.min(...waits(attempt))).toBeLessThan(ceiling / 2);
    }
    const told = create(plenty);
    const later = (): Promise<never> =>
      Promise.reject(new RetryableError("later", { retryAfterMs: 3_000 }));
    await outcome(told.calls.call("api", later, key));
    const waited = told.events.flatMap((event) => (event.kind === "retried" ? [event.waitMs] : []));
    expect(waited).toHaveLength(3);
    expect(Math.min(...waited)).toBeGreaterThanOrEqual(3_000);
    // Longer than a call can wait: it is the caller's to come back.
    const muchLater = vi.fn(() =>
      Promise.reject(new RetryableError("later", { retryAfterMs: 60_000 })),
    );
    expect(codeOf(await outcome(told.calls.call("api", muchLater, key)))).toBe("RETRYABLE");
    expect(muchLater).toHaveBeenCalledTimes(1);
  });

  it("that is answered for good is not repeated, and is no failure of the dependency", async () => {
    const { calls } = create();
    const refuse = vi.fn(() => Promise.reject(new PermanentError("no such card")));
    for (let n = 0; n < 40; n += 1) {
      expect(codeOf(await outcome(calls.call("api", refuse, key), 10))).toBe("PERMANENT");
    }
    expect(refuse).toHaveBeenCalledTimes(40);
    expect(calls.snapshot().api).toMatchObject({ breaker: "closed", failed: 0, retries: 0 });
    const instead = calls.callWithFallback("api", refuse, () => Promise.resolve(1 as never), key);
    expect(codeOf(await outcome(instead))).toBe("PERMANENT");
  });

  it("has its time per attempt, and its signal aborts when that is over", async () => {
    const { calls } = create(plenty);
    const signals: AbortSignal[] = [];
    const hang = ({ signal }: CallContext): Promise<never> => {
      signals.push(signal);
      return new Promise(() => undefined);
    };
    expect(codeOf(await outcome(calls.call("api", hang, key)))).toBe("CALL_TIMED_OUT");
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true, true]);
    expect(calls.snapshot().api).toMatchObject({ timeouts: 4, failed: 1, active: 0 });
  });

  it("ends at once when its caller does, in an attempt and between two, and that is nobody's failure", async () => {
    const { calls } = create(plenty);
    for (const work of [down, () => new Promise<never>(() => undefined)]) {
      for (let n = 0; n < 30; n += 1) {
        const caller = new AbortController();
        const attempts = vi.fn(work);
        const call = calls.call("api", attempts, { ...key, signal: caller.signal });
        const settled = call.catch((error: unknown) => error);
        await Promise.resolve();
        caller.abort(new Error("gone"));
        expect(await settled).toEqual(new Error("gone"));
        await vi.advanceTimersByTimeAsync(5_000);
        expect(attempts).toHaveBeenCalledTimes(1);
      }
    }
    expect(calls.snapshot().api).toMatchObject({ breaker: "closed", failed: 0 });
  });

  it("is answered by its fallback when it fails, also when it is refused", async () => {
    const { calls } = create(plenty);
    const last = async (error: unknown): Promise<string> => codeOf(error);
    const ask = () => calls.callWithFallback<string>("api", down, last, key);
    for (let n = 0; n < 20; n += 1) expect(await outcome(ask(), 5_000)).toBe("Error: down");
    expect(await outcome(ask(), 0)).toBe("BREAKER_OPEN");
    expect(calls.snapshot().api.fallbacks).toBe(21);
  });
});

describe("a breaker", () => {
  const openings = [
    ["standard", standardPreset, 10, 10_000],
    ["payment", paymentPreset, 8, 30_000],
  ] as const;

  it.each(openings)(
    "%s opens at its share of 20 calls, and lets one through after its time",
    async (_, preset, failures, openMs) => {
      const { calls, events } = create(preset);
      const ok = () => Promise.resolve("ok");
      for (let n = 0; n < 20 - failures; n += 1) await calls.call("api", ok);
      for (let n = 0; n < failures; n += 1) {
        expect(calls.snapshot().api.breaker).toBe("closed");
        await outcome(calls.call("api", down), 0);
      }
      expect(calls.snapshot().api.breaker).toBe("open");
      const asked = vi.fn(ok);
      const refused = await outcome(calls.call("api", asked), openMs - 1);
      expect(refused).toMatchObject({ code: "BREAKER_OPEN", dependency: "api" });
      expect(refused).toMatchObject({ retryAfterMs: openMs });
      expect(codeOf(await outcome(calls.call("api", asked), 1))).toBe("BREAKER_OPEN");
      expect(asked).not.toHaveBeenCalled();
      // One tries, and the others do not wait for it.
      const trial = Promise.withResolvers<string>();
      const tried = calls.call("api", () => trial.promise);
      expect(codeOf(await outcome(calls.call("api", asked), 0))).toBe("BREAKER_OPEN");
      trial.resolve("back");
      expect(await tried).toBe("back");
      expect(await calls.call("api", asked)).toBe("ok");
      const kinds = events.flatMap(({ kind }) => (kind.startsWith("breaker") ? [kind] : []));
      expect(kinds).toEqual(["breaker-opened", "breaker-half-open", "breaker-closed"]);
    },
  );

  it("stays open when its one call fails, or is given up by its caller", async () => {
    const { calls } = create();
    for (let n = 0; n < 20; n += 1) await outcome(calls.call("api", down), 0);
    await vi.advanceTimersByTimeAsync(10_000);
    await outcome(calls.call("api", down), 0);
    expect(calls.snapshot().api.breaker).toBe("open");
    await vi.advanceTimersByTimeAsync(10_000);
    const caller = new AbortController();
    const hang = () => new Promise<never>(() => undefined);
    const trial = calls.call("api", hang, { signal: caller.signal }).catch(() => undefined);
    caller.abort();
    await trial;
    await vi.advanceTimersByTimeAsync(0);
    expect(calls.snapshot().api.breaker).toBe("open");
  });

  it("is not opened by a dependency that is only busy", async () => {
    const dependencies = { api: standardPreset };
    const classify = () => ({ kind: "busy" as const, retryAfterMs: 10 });
    const calls = createResilience({ dependencies, classify });
    for (let n = 0; n < 40; n += 1) await outcome(calls.call("api", down), 0);
    expect(calls.snapshot().api).toMatchObject({ breaker: "closed", failed: 40 });
  });
});

describe("the budget", () => {
  it("lets a fifth of the calls be repeated in an outage, after its reserve", async () => {
    const { calls } = create({
      ...standardPreset,
      breaker: { ...standardPreset.breaker, callCount: 10_000 },
    });
    for (let n = 0; n < 200; n += 1) await outcome(calls.call("api", down, key), 1_000);
    const { retries, retriesDenied } = calls.snapshot().api;
    // The reserve of 10, and 0.2 × 200.
    expect(retries).toBeLessThanOrEqual(50);
    expect(retries).toBeGreaterThanOrEqual(45);
    expect(retriesDenied).toBeGreaterThan(100);
  });
});

describe("a bulkhead", () => {
  it("lets so many in, a few wait, and the rest is refused at once", async () => {
    const { calls } = create({ ...standardPreset, bulkhead: { concurrency: 2, queueMax: 1 } });
    const gate = Promise.withResolvers<string>();
    const work = vi.fn(() => gate.promise);
    const inside = [1, 2, 3].map(() => calls.call("api", work));
    const refused = await outcome(calls.call("api", work), 0);
    expect(refused).toMatchObject({ code: "BULKHEAD_FULL", dependency: "api" });
    expect(work).toHaveBeenCalledTimes(2);
    expect(calls.snapshot().api).toMatchObject({ active: 2, queued: 1, refusedByBulkhead: 1 });
    gate.resolve("done");
    expect(await Promise.all(inside)).toEqual(["done", "done", "done"]);
  });
});

/** What each order comes to; the wrong one is shown to fail. */
describe("the order", () => {
  it("has the breaker around the retries: what a retry has mended is no failure", async () => {
    const flaky = ({ attempt }: CallContext): Promise<string> =>
      attempt === 1 ? down() : Promise.resolve("ok");
    const answers = async (order: readonly LayerName[]): Promise<ReadonlySet<unknown>> => {
      const { calls } = create(plenty, order);
      const all = new Set<unknown>();
      for (let n = 0; n < 60; n += 1) {
        all.add(await outcome(calls.call("api", flaky, key).catch(codeOf), 200));
      }
      return all;
    };
    expect(await answers(layerOrder)).toEqual(new Set(["ok"]));
    // Inside of them it counts attempts, and closes the door on calls that would all have been answered.
    const wrong = await answers(["bulkhead", "retry", "breaker", "timeout"]);
    expect(wrong).toContain("BREAKER_OPEN");
  });

  it("holds against a storm: callers who retry around it do not multiply the retries", async () => {
    /** 40 callers, each of whom tries four times whatever happens; how often the dependency is asked. */
    const askedBy = async (options: DependencyOptions, order: readonly LayerName[]) => {
      const { calls } = create(options, order);
      const asked = vi.fn(down);
      const all = Array.from({ length: 40 * 4 }, async (_, n) => {
        await vi.advanceTimersByTimeAsync(n % 4);
        await calls.call("api", asked, key).catch(() => undefined);
      });
      await vi.advanceTimersByTimeAsync(10_000);
      await Promise.all(all);
      return asked.mock.calls.length;
    };
    // A retry around a retry, and nothing that stops them: 40 × 4 × 4.
    expect(await askedBy(plenty, ["retry", "timeout"])).toBe(640);
    expect(await askedBy(standardPreset, layerOrder)).toBeLessThan(100);
  });

  it("has the timeout in each attempt: one that hangs leaves the others their time", async () => {
    const hangOnce = ({ attempt }: CallContext): Promise<string> =>
      attempt === 1 ? new Promise<never>(() => undefined) : Promise.resolve("answered");
    const right = create(plenty);
    expect(await outcome(right.calls.call("api", hangOnce, key))).toBe("answered");
    const wrong = create(plenty, ["bulkhead", "breaker", "timeout", "retry"]);
    expect(codeOf(await outcome(wrong.calls.call("api", hangOnce, key)))).toBe("CALL_TIMED_OUT");
  });

  it("has the bulkhead outside: a crowd of our own does not open the breaker, and is not repeated", async () => {
    const crowded = { ...plenty, bulkhead: { concurrency: 1, queueMax: 0 } };
    const crowd = async (order: readonly LayerName[]) => {
      const { calls } = create(crowded, order);
      const gate = Promise.withResolvers<string>();
      const first = calls.call("api", () => gate.promise);
      const asked = Array.from({ length: 40 }, () => calls.call("api", () => gate.promise, key));
      const codes = asked.map((call) => call.catch(codeOf));
      await vi.advanceTimersByTimeAsync(0);
      gate.resolve("done");
      await first;
      await vi.advanceTimersByTimeAsync(10_000);
      return { codes: new Set(await Promise.all(codes)), ...calls.snapshot().api };
    };
    expect(await crowd(layerOrder)).toMatchObject({
      codes: new Set(["BULKHEAD_FULL"]),
      breaker: "closed",
      refusedByBulkhead: 40,
    });
    // Inside the breaker, what waits for its turn is let through when the breaker has long been open.
    const wide = { ...plenty, retry: false as const, bulkhead: { concurrency: 1, queueMax: 100 } };
    const askedThrough = async (order: readonly LayerName[]): Promise<number> => {
      const { calls } = create(wide, order);
      const asked = vi.fn(down);
      await outcome(
        Promise.all(Array.from({ length: 60 }, () => calls.call("api", asked).catch(codeOf))),
      );
      return asked.mock.calls.length;
    };
    expect(await askedThrough(layerOrder)).toBe(20);
    expect(await askedThrough(["breaker", "bulkhead", "retry", "timeout"])).toBe(60);
  });
});

it("refuses numbers that cannot be used, all at once, and names it does not know", async () => {
  const bad = {
    ...standardPreset,
    timeoutMs: 0,
    breaker: { callCount: 0, failureShare: 2, openMs: 0.5 },
    bulkhead: { concurrency: 0, queueMax: -1 },
  };
  expect(() => createResilience({ dependencies: { bad } })).toThrow(
    /"bad": timeoutMs.*callCount.*failureShare.*openMs.*concurrency.*queueMax/,
  );
  const { calls } = create();
  const unknown = calls.call("other" as "api", () => Promise.resolve(1));
  await expect(unknown).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
});
