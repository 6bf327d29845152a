/** An operator pauses, resumes, drains and repairs the relays of a service: durably, for all of them, once, and with a record of who and why (law X5). */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  emitSteps,
  logMessages,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

const node: string = fileURLToPath(new URL("../../../../node_modules/.bin/node", import.meta.url));
const main: string = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

let database: TestDatabase;
let first: TestService;
let second: TestService;
beforeEach(async () => {
  database = await createHandledDatabase("relay_control");
  // They look by themselves too rarely for this test: what is seen in time was told.
  const rarely = { leaseMs: 60_000, pollMsMin: 60_000, pollMsMax: 60_000 };
  first = createTestService({ pool: database.pool, relay: { ...rarely } });
  second = createTestService({ pool: database.pool, relay: { ...rarely } });
});
afterEach(async () => {
  await Promise.all([first.stop(), second.stop()]);
  await database[Symbol.asyncDispose]();
});

const published = async (): Promise<number> => (await logMessages(database.pool)).length;
const audit = async () =>
  (
    await database.pool.query<{ line: string }>(
      "select concat_ws(' ', action, subject, actor, reason) as line from dure.audit_entry order by id",
    )
  ).rows.map(({ line }) => line);
const by = { actor: "ada", reason: "broker moves" };

/** Runs `dure relay …` as a shell does. */
function relay(
  ...args: readonly string[]
): Promise<{ readonly exitCode: number; readonly out: string; readonly error: string }> {
  const env = { ...process.env, NODE_OPTIONS: "", DATABASE_URL: database.url };
  return new Promise((resolve) => {
    execFile(
      node,
      ["--conditions=dure-source", main, "relay", ...args],
      { env, timeout: 30_000 },
      (failure, out, error) =>
        resolve({ exitCode: failure === null ? 0 : Number(failure.code), out, error }),
    );
  });
}

describe("a pause", () => {
  it("stops every relay, also those that start later; business goes on, shards are kept, and resume wakes them at once", async () => {
    await first.dure.start();
    await second.dure.start();
    await waitFor(
      async () => (await first.dure.relay.status()).shards.every(({ owner }) => owner !== null),
      { what: "owners" },
    );
    expect(await first.dure.relay.pause(by)).toBe(true);
    expect(await second.dure.relay.pause({ actor: "bob", reason: "other" })).toBe(false);
    await waitFor(
      () =>
        [first, second].every(({ logs }) => logs.some((line) => line.message.includes("paused"))),
      { what: "both relays' pause" },
    );
    const before = await first.dure.relay.status();
    expect(before.pause).toMatchObject({ actor: "ada", reason: "broker moves" });
    await using third = createTestService({ pool: database.pool });
    await third.dure.start();
    for (let n = 0; n < 20; n += 1) await emitSteps(first.dure, `k${n}`, { to: 2 });
    await holdsFor(async () => (await published()) === 0, { what: "silence", forMs: 1_500 });
    expect((await first.dure.relay.status()).shards.every(({ owner }) => owner !== null)).toBe(
      true,
    );
    expect(await first.dure.status()).toMatchObject({ pending: 40, isPaused: true, relays: 3 });
    const startedAt = performance.now();
    expect(await first.dure.relay.resume({ actor: "ada" })).toBe(true);
    expect(await first.dure.relay.resume({ actor: "ada" })).toBe(false);
    await waitFor(async () => (await published()) === 40, { what: "all of them" });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(await audit()).toEqual([
      "relay.pause outbox ada broker moves",
      "relay.resume outbox ada",
    ]);
  });
});

describe("draining", () => {
  it("resolves when nothing is left, at once when the relays are paused, and in time otherwise", async () => {
    await emitSteps(first.dure, "k", { to: 30 });
    expect(await first.dure.relay.drain({ timeoutMs: 100 })).toMatchObject({
      kind: "timeout",
      pending: 30,
      relays: 0,
    });
    expect(await first.dure.relay.drain({ signal: AbortSignal.abort() })).toMatchObject({
      kind: "aborted",
    });
    await first.dure.relay.pause(by);
    const seen: number[] = [];
    expect(
      await first.dure.relay.drain({ onProgress: ({ pending }) => seen.push(pending) }),
    ).toMatchObject({ kind: "paused", pending: 30 });
    expect(seen).toEqual([]);
    await first.dure.relay.resume(by);
    const draining = first.dure.relay.drain({ onProgress: ({ pending }) => seen.push(pending) });
    await first.dure.start();
    expect(await draining).toMatchObject({ kind: "drained", pending: 0, parked: 0 });
    expect(await published()).toBe(30);
    await first.dure.relay.pause(by);
    expect(await first.dure.relay.drain()).toMatchObject({ kind: "drained" });
  });
});

describe("a rebase", () => {
  it("mends what needs it and nothing else, twice is once, and says who and why", async () => {
    await first.dure.start();
    await emitSteps(first.dure, "k", { to: 8 });
    await waitForDrained(first.dure);
    expect(await first.dure.relay.rebase(by)).toEqual([]);
    const shard =
      (await first.dure.relay.status()).shards.find(({ last }) => last > 0)?.shard ?? -1;
    await database.pool.query(`select setval('dure.outbox_position_${shard}', 2)`);
    await emitSteps(first.dure, "k", { from: 9, to: 12 });
    expect(
      (await first.dure.relay.status()).shards.filter((found) => found.isSetBack),
    ).toMatchObject([{ shard }]);
    expect(await first.dure.relay.rebase({ ...by, shards: [(shard + 1) % 8] })).toEqual([]);
    const both = await Promise.all([first.dure.relay.rebase(by), first.dure.relay.rebase(by)]);
    expect(both.flat()).toEqual([{ shard, moved: 4, incarnation: 2 }]);
    await waitFor(async () => (await published()) === 12, { what: "all twelve" });
    expect(await audit()).toEqual([`relay.rebase outbox/${shard} ada broker moves`]);
  });

  it("gives up on a writer that stays, changes nothing, and says so", async () => {
    await first.dure.start();
    await emitSteps(first.dure, "k", { to: 3 });
    await waitForDrained(first.dure);
    const shard =
      (await first.dure.relay.status()).shards.find(({ last }) => last > 0)?.shard ?? -1;
    await database.pool.query(`select setval('dure.outbox_position_${shard}', 1)`);
    const client = await database.pool.connect();
    await client.query("begin");
    await emitInto(client);
    await expect(first.dure.relay.rebase(by)).rejects.toMatchObject({ code: "OUTBOX_BUSY" });
    await client.query("rollback");
    client.release();
    expect(await audit()).toEqual([]);
    expect(await first.dure.relay.rebase(by)).toHaveLength(1);
  });
  const emitInto = (client: Parameters<TestService["dure"]["outbox"]["emit"]>[0]) =>
    client.query("lock table dure.outbox_message in row exclusive mode");
});

describe("who does it and why must be said", () => {
  it("and a shard must be one", async () => {
    const { relay: control } = first.dure;
    const refused = { code: "CONFIGURATION_INVALID" };
    await expect(control.pause({ actor: " ", reason: "r" })).rejects.toMatchObject(refused);
    await expect(control.pause({ actor: "a", reason: "" })).rejects.toMatchObject(refused);
    await expect(control.resume({ actor: "" })).rejects.toMatchObject(refused);
    await expect(control.rebase({ ...by, shards: [64] })).rejects.toMatchObject(refused);
    await expect(control.drain({ timeoutMs: -1 })).rejects.toMatchObject(refused);
    expect(await audit()).toEqual([]);
  });
});

describe("the command line", () => {
  // Eight processes of Node, one after the other.
  it("does the same, for people and for programs", { timeout: 120_000 }, async () => {
    await emitSteps(first.dure, "k", { to: 3 });
    const paused = await relay("pause", "--actor", "ada", "--reason", "new \u001b[2J broker");
    expect(paused).toEqual({ exitCode: 0, out: "paused\n", error: "" });
    const status = await relay("status");
    expect(status.exitCode).toBe(0);
    expect(status.out).toMatch(/^paused by ada at \S+Z: new \\u\{1b\}\[2J broker\nrelays: 0, inc/);
    expect(status.out).toMatch(/^ *SHARD {2}OWNER {3}EPOCH {2}LEASE {2}LOW {2}HEAD {2}LAST/m);
    expect(status.out).toMatch(/^ *\d {2}nobody +0 +0 +0 +3 +0 +3$/m);
    const drain = await relay("drain", "--timeout-ms", "60000");
    expect(drain).toEqual({
      exitCode: 1,
      out: "",
      error:
        "error not drained: 3 events pending, 0 tried again; the relays are paused: dure relay resume\n",
    });
    const again = await relay("pause", "--actor", "bob", "--reason", "r", "--json");
    expect(JSON.parse(again.out)).toEqual({ hasPaused: false });
    expect(await relay("resume", "--actor", "ada")).toMatchObject({
      exitCode: 0,
      out: "resumed\n",
    });
    const late = await relay("drain", "--timeout-ms", "100", "--json");
    expect(late.exitCode).toBe(1);
    expect(JSON.parse(late.out)).toMatchObject({ kind: "timeout", pending: 3, relays: 0 });
    expect(late.error).toMatch(
      /^3 pending, 0 tried again\nerror not drained: .*no relay is running/,
    );
    await first.dure.start();
    expect(await relay("drain")).toMatchObject({ exitCode: 0, out: "drained\n" });
    expect(await relay("rebase", "3", "4", "--actor", "ada", "--reason", "r")).toMatchObject({
      exitCode: 0,
      out: "no shard needs it\n",
    });
  });

  it.each([
    [["pause", "--actor", "ada"]],
    [["resume"]],
    [["drain", "--timeout-ms", "x"]],
    [["rebase", "64", "--actor", "ada", "--reason", "r"]],
    [["rebase", "--actor", "ada"]],
  ])("used wrongly: dure relay %j", async (args) => {
    expect(await relay(...args)).toMatchObject({ exitCode: 2, out: "" });
  });
});
