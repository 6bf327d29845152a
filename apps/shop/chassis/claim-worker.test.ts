import { systemClock } from "dure";
import type { Clock } from "dure";
import { expect, test } from "vitest";
import { createClaimWorker } from "./claim-worker.ts";
import type { ClaimWorkerOptions } from "./claim-worker.ts";
import { createLogger } from "./logger.ts";

const logger = createLogger({ service: "delivery", level: "silent" });

/** Patient, because the machine may be busy with other tests. */
const poll = <T>(ask: () => T) => expect.poll(ask, { timeout: 10_000 });

/** A worker over a list; every piece waits for its gate. */
function workerOver(items: number[], options: Partial<ClaimWorkerOptions<number>> = {}) {
  const gates = new Map<number, PromiseWithResolvers<void>>();
  const worker = createClaimWorker<number>({
    concurrency: 3,
    claim: async (limit) => items.splice(0, limit),
    work: (item) => {
      const gate = Promise.withResolvers<void>();
      gates.set(item, gate);
      return gate.promise;
    },
    renew: async () => undefined,
    renewEveryMs: 60_000,
    clock: systemClock,
    logger,
    ...options,
  });
  worker.start();
  return { worker, gates };
}

test("no more than so many pieces are under way, and a finished one makes room", async () => {
  const { worker, gates } = workerOver([1, 2, 3, 4, 5]);
  await poll(() => [...gates.keys()]).toEqual([1, 2, 3]);
  gates.get(2)?.resolve();
  await poll(() => [...gates.keys()]).toEqual([1, 2, 3, 4]);
  gates.get(1)?.reject(new Error("a piece that fails makes room too"));
  await poll(() => [...gates.keys()]).toEqual([1, 2, 3, 4, 5]);
  for (const gate of gates.values()) gate.resolve();
  await worker.stop();
});

test("stopping takes no more and waits for what is under way", async () => {
  const items: number[] = [1];
  const { worker, gates } = workerOver(items);
  await poll(() => gates.size).toBe(1);
  let isStopped = false;
  const stopping = worker.stop().then(() => (isStopped = true));
  items.push(2);
  worker.wake();
  await new Promise((resolve) => setImmediate(resolve));
  expect(isStopped).toBe(false);
  gates.get(1)?.resolve();
  await stopping;
  expect(items).toEqual([2]);
});

test("claims are renewed while their pieces are under way, and not when the worker stops", async () => {
  const renewed: (readonly number[])[] = [];
  const ticks: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    sleep: (ms, signal) =>
      ms < 60_000
        ? systemClock.sleep(ms, signal)
        : new Promise((resolve) => {
            ticks.push(resolve);
            signal?.addEventListener("abort", () => resolve(), { once: true });
          }),
  };
  const renew = async (items: readonly number[]) => void renewed.push(items);
  const { worker, gates } = workerOver([1, 2], { clock, renew });
  await poll(() => gates.size).toBe(2);
  ticks.at(-1)?.();
  await poll(() => renewed).toEqual([[1, 2]]);
  gates.get(1)?.resolve();
  await poll(() => ticks.length).toBe(2);
  ticks.at(-1)?.();
  await poll(() => renewed).toEqual([[1, 2], [2]]);
  gates.get(2)?.resolve();
  await worker.stop();
  expect(renewed).toHaveLength(2);
});

test("a claim that fails is tried again", async () => {
  let failures = 0;
  const { worker, gates } = workerOver([], {
    claim: async () => {
      failures += 1;
      if (failures < 3) throw new Error("no database");
      return failures === 3 ? [7] : [];
    },
  });
  await poll(() => [...gates.keys()]).toEqual([7]);
  gates.get(7)?.resolve();
  await worker.stop();
});
