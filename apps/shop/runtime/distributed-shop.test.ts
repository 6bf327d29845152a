/** The shop as processes of their own, some of which are killed while they work. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findFreeBasePort } from "./ports.ts";
import { readProcessList } from "./process-list.ts";
import type { ProcessEntry } from "./process-list.ts";
import { waitUntilReady } from "./readiness.ts";
import { eventually, shopAt } from "./testing/shop-under-test.ts";

const program = fileURLToPath(new URL("../shop.ts", import.meta.url));
/** Eight processes start on what may be two busy cores. */
const startMs = 120_000;

let data: string;
let supervisor: ChildProcess;
let output = "";
let url: string;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "dure-distributed-"));
  const port = await findFreeBasePort();
  url = `http://127.0.0.1:${port}`;
  const options = ["--distributed", "--broker", "postgres", "--instances", "payment=2"];
  supervisor = spawn(
    process.execPath,
    ["--conditions=dure-source", program, ...options, "--port", `${port}`, "--data", data],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  supervisor.stdout?.on("data", (part: Buffer) => (output += part.toString()));
  const died = once(supervisor, "exit").then(() => {
    throw new Error(`the supervisor ended: ${output}`);
  });
  died.catch(() => undefined);
  await Promise.race([waitUntilReady(url, { withinMs: startMs }), died]);
}, startMs);

afterAll(async () => {
  supervisor.kill("SIGKILL");
  await rm(data, { recursive: true, force: true });
});

test("orders survive kill -9 of the services that work on them", async () => {
  const shop = shopAt(url);
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
  expect(output).toMatch(/payment#1, pid \d+, ended \(SIGKILL\); starting it again in 200 ms/);
}, 240_000);

test("Ctrl-C ends every process, and the exit code is 0", async () => {
  const pids = (await processes()).map(({ pid }) => pid);
  const exited = once(supervisor, "exit");
  supervisor.kill("SIGINT");
  expect(await exited).toEqual([0, null]);
  expect(pids.filter(isAlive)).toEqual([]);
  expect(await processes()).toEqual([]);
}, 60_000);

function processes(): Promise<readonly ProcessEntry[]> {
  return readProcessList(join(data, "processes.json"));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
