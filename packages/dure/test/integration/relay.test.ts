/** Relays share the shards, hear of news without NOTIFY in a business transaction, and do without it (laws O3, O6). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newId } from "../../src/index.ts";
import type { Message } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { wrapPool } from "../support/wrap-pool.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  stepTaken,
  type TestService,
  type TestServiceOptions,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
const started: TestService[] = [];

beforeEach(async () => {
  database = await createHandledDatabase("relay", { poolSizeMax: 30 });
});
afterEach(async () => {
  for (const service of started.splice(0)) await service.stop();
  await database[Symbol.asyncDispose]();
});

async function start(
  options: Partial<TestServiceOptions> = {},
  handles = false,
): Promise<TestService> {
  const service = createTestService({ pool: database.pool, ...options });
  if (handles) service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  started.push(service);
  return service;
}

const stray: Message = {
  id: "stray",
  source: "steps",
  topic: "step",
  key: "k",
  type: "step.taken",
  version: 1,
  time: "2026-01-01T00:00:00.000Z",
  data: "{}",
  link: { kind: "first" },
};

const split = async (): Promise<string> => {
  const { rows } = await database.pool.query<{ count: number }>(
    "select count(*)::int as count from dure.claim where scope = 'outbox' and member_id is not null group by member_id order by 1",
  );
  return rows.map(({ count }) => count).join(" ");
};
const waitForSplit = (wanted: string) =>
  waitFor(async () => (await split()) === wanted, { what: `the split ${wanted}` });

describe("relays of one service", () => {
  it("share the shards evenly, and again when one leaves or joins; nothing is lost or confused meanwhile", async () => {
    const writer = await start({ relay: false }, true);
    const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);
    const emitted = Promise.all(keys.map((key) => emitSteps(writer.dure, key, { to: 100 })));
    const first = await start();
    await waitForSplit("8");
    await start();
    await waitForSplit("4 4");
    await start();
    await waitForSplit("2 3 3");
    const leftAt = performance.now();
    await first.stop();
    await waitForSplit("4 4");
    expect(performance.now() - leftAt).toBeLessThan(1_500);
    await start();
    await waitForSplit("2 3 3");
    await emitted;
    const rows = await waitForHandled(database.pool, keys.length * 100, { timeoutMs: 30_000 });
    expect(disorderedKeys(rows)).toEqual([]);
    expect((await writer.dure.status()).order["steps"]).toMatchObject({
      gaps: 0,
      reorders: 0,
      duplicates: 0,
    });
  });

  it("are no more than the shards need: the ninth member of eight shards waits, alive", async () => {
    for (let index = 0; index < 9; index += 1) await start();
    await waitForSplit("1 1 1 1 1 1 1 1");
    const [any] = started;
    await waitFor(async () => (await any?.dure.status())?.relays === 9, { what: "nine members" });
  });
});

describe("what a relay records", () => {
  it("is refused, shard by shard, to whoever is not the owner any more: its progress and what it parked", async () => {
    const { outbox } = postgresStore({ pool: database.pool });
    const [old, heir] = [newId(), newId()];
    const held = await outbox.heartbeat({ id: old, leaseMs: 60_000, isJoining: true });
    // A lost answer: joining again under the same id is no second member.
    expect(await outbox.heartbeat({ id: old, leaseMs: 60_000, isJoining: true })).toEqual(held);
    await outbox.heartbeat({ id: heir, leaseMs: 60_000, isJoining: true });
    await outbox.release({ id: old, shards: [0], isLeaving: false });
    const taken = await outbox.heartbeat({ id: heir, leaseMs: 60_000, isJoining: false });
    expect(taken).toMatchObject([{ shard: 0, epoch: 2 }]);
    const advances = [0, 1].map((shard) => ({ shard, n: 1, low: 5, done: [] }));
    const parked = [0, 1].map((shard) => ({
      side: "relay" as const,
      consumer: "steps",
      shard,
      failure: undefined,
      skips: false,
      message: { ...stray, id: `of-${shard}`, key: `of-${shard}` },
    }));
    const nothing = { parked: [], resolved: [], failed: [] };
    const epochs = [0, 1].map((shard) => ({ shard, epoch: 1 }));
    const oldMember = { id: old, source: "steps", shards: epochs };
    expect(await outbox.advance(oldMember, advances, { ...nothing, parked })).toEqual([0]);
    expect(await outbox.cursors([0, 1])).toMatchObject([
      { shard: 0, n: 0, low: 0, done: [] },
      { shard: 1, n: 1, low: 5, done: [] },
    ]);
    const keys = parked.map(({ message }) => message);
    expect(await outbox.parkedAmong("steps", keys)).toEqual(new Set(["step\u001fof-1"]));
    const heirMember = { id: heir, source: "steps", shards: [{ shard: 1, epoch: 1 }] };
    const [due] = await outbox.due({
      source: "steps",
      shards: [1],
      closedTopics: [],
      probedTopics: [],
      limit: 10,
    });
    expect(due).toMatchObject({ shard: 1, attempts: 0, message: { id: "of-1" } });
    const failure = { code: "NO", error: "no", isFinal: true, retryInMs: 0 };
    const failed = [{ id: due?.id ?? "", shard: 1, failure, skips: false }];
    const moved = [{ shard: 1, n: 9, low: 9, done: [] }];
    expect(await outbox.advance(heirMember, moved, { ...nothing, failed })).toEqual([1]);
    const resolved = [due?.id ?? ""];
    expect(await outbox.advance(heirMember, [], { ...nothing, resolved })).toEqual([1]);
    expect((await outbox.parkedKeys("steps", 10)).size).toBe(1);
    expect(await outbox.advance(oldMember, [], { ...nothing, resolved })).toEqual([0]);
    expect((await outbox.parkedKeys("steps", 10)).size).toBe(0);
  });
});

describe("news", () => {
  it("never travels by NOTIFY inside a business transaction", async () => {
    const inTransactions: string[] = [];
    const pool = wrapPool(database.pool, {
      onClient(text, run, isOpen) {
        if (isOpen) inTransactions.push(text);
        return run();
      },
    });
    const { dure } = await start({ pool }, true);
    await emitSteps(dure, "k", { to: 5 });
    await waitForHandled(database.pool, 5);
    expect(inTransactions.filter((text) => /\bnotify\b|pg_notify/i.test(text))).toEqual([]);
    expect(inTransactions.some((text) => text.includes("outbox.append"))).toBe(true);
    const { rows } = await database.pool.query(
      "select proname from pg_proc where pronamespace = 'dure'::regnamespace and prosrc ~* 'notify'",
    );
    expect(rows).toEqual([]);
  });

  it("wakes relays and consumers of other processes by NOTIFY, long before they would look", async () => {
    const slow = { pollMsMin: 30_000, pollMsMax: 30_000 };
    const writer = await start({ relay: false });
    const other = await start(
      { relay: { ...slow, leaseMs: 60_000 }, consumer: slow, groupLeaseMs: 60_000 },
      true,
    );
    await waitFor(
      () => other.logs.filter(({ message }) => message === "news arrives by NOTIFY").length === 2,
      { what: "both self-tests" },
    );
    for (let n = 1; n <= 3; n += 1) {
      await emitSteps(writer.dure, "k", { from: n, to: n });
      await waitForHandled(database.pool, n, { timeoutMs: 5_000 });
    }
  });

  it("is found by looking where NOTIFY does not arrive, and that is said once", async () => {
    const deaf = wrapPool(database.pool, {
      onClient: (text, run) => (text.startsWith("listen ") ? Promise.resolve({ rows: [] }) : run()),
    });
    const writer = await start({ relay: false, pool: deaf });
    const other = await start({ pool: deaf }, true);
    const warnings = () =>
      other.logs.filter(({ message }) => message.includes("NOTIFY does not arrive"));
    await waitFor(() => warnings().length === 2, { what: "both self-tests" });
    await emitSteps(writer.dure, "k", { to: 20 });
    expect(disorderedKeys(await waitForHandled(database.pool, 20))).toEqual([]);
    await waitForDrained(writer.dure);
    expect(warnings()).toHaveLength(2);
  });
});
