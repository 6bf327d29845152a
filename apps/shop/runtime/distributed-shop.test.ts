/** The shop as processes of their own, some of which are killed while they work. */
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startMs, startShopProcess } from "./testing/shop-process.ts";
import type { ShopProcess } from "./testing/shop-process.ts";
import { eventually, shopAt } from "./testing/shop-under-test.ts";

let running: ShopProcess;
beforeAll(async () => {
  running = await startShopProcess(["--broker", "postgres", "--instances", "payment=2"]);
}, startMs);
afterAll(() => running[Symbol.asyncDispose]());

test("orders survive kill -9 of the services that work on them", async () => {
  const { processes } = running;
  const shop = shopAt(running.url);
  const product = await shop.putProduct(1000);
  const orderIds: string[] = [];
  const post = async (count: number): Promise<void> => {
    const ids = await Promise.all(Array.from({ length: count }, () => shop.order(product)));
    orderIds.push(...ids);
  };
  await post(10);
  const victims = (await processes()).filter(({ name }) => ["payment", "order"].includes(name));
  expect(victims.map(({ name, instance }) => `${name}#${instance}`).sort()).toEqual([
    "order#1",
    "payment#1",
    "payment#2",
  ]);
  for (const { pid } of victims) process.kill(pid, "SIGKILL");
  await post(20);

  for (const id of orderIds) await shop.orderWith(id, "COMPLETED", startMs);
  expect(new Set(orderIds).size).toBe(30);
  expect(await shop.orderCount()).toBe(30);
  await shop.stockIs(product, { available: 940, reserved: 0, sold: 60 });
  const { disagreements, ok, money } = await shop.reconcile();
  expect(disagreements).toEqual([]);
  expect(ok).toBe(true);
  expect(money).toEqual({ orders: 30_000, payments: 30_000, provider: 30_000 });

  const after = await eventually(processes, (list) => list.length === 8);
  const pids = new Set(after.map(({ pid }) => pid));
  expect(victims.filter(({ pid }) => pids.has(pid))).toEqual([]);
  expect(running.output()).toMatch(
    /payment#1, pid \d+, ended \(SIGKILL\); starting it again in 200 ms/,
  );
}, 240_000);

test("Ctrl-C ends every process, and the exit code is 0", async () => {
  const { processes, supervisor } = running;
  const pids = (await processes()).map(({ pid }) => pid);
  const exited = once(supervisor, "exit");
  supervisor.kill("SIGINT");
  expect(await exited).toEqual([0, null]);
  expect(pids.filter(isAlive)).toEqual([]);
  expect(await processes()).toEqual([]);
}, 60_000);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
