/** A position sequence that was set back is found also when it shows no more, and a rebase loses nothing and keeps the order (law O2 g). */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { postgresStore } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  collectLogs,
  createHandledDatabase,
  createTestService,
  emitSteps,
  logMessages,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

let database: TestDatabase;
let writer: TestService;
beforeEach(async () => {
  database = await createHandledDatabase("set_back");
  writer = createTestService({ pool: database.pool, relay: false });
});
afterEach(async () => {
  await writer.stop();
  await database[Symbol.asyncDispose]();
});

const shardOf = async (key: string): Promise<number> => {
  const { rows } = await database.pool.query<{ shard: number }>(
    "select ((hashtextextended('step' || chr(31) || $1, 0) & 9223372036854775807) % 8)::int as shard",
    [key],
  );
  return rows[0]?.shard ?? -1;
};
const numbersOf = async (key: string): Promise<readonly number[]> =>
  (await logMessages(database.pool))
    .filter((message) => message.key === key)
    .map((message) => (JSON.parse(message.data) as { n: number }).n);
const upTo = (count: number, from = 1): readonly number[] =>
  Array.from({ length: count - from + 1 }, (_, index) => from + index);
const setBack = (shard: number, to: number) =>
  database.pool.query(`select setval('dure.outbox_position_${shard}', ${to})`);
const rebase = (shard: number) =>
  database.pool.query(`select dure.outbox_rebase(${shard}::smallint)`);
/** What the relay says; maintenance looks as well. */
const alertsOf = (service: TestService) =>
  service.logs.filter(({ message }) => message.startsWith("OUTBOX_SEQUENCE_SET_BACK: a shard"));
/** Time passes for what is there, so that what comes is seen to be later. */
const age = async (): Promise<void> => {
  await database.pool.query(
    "update dure.outbox_message set written_at = written_at - interval '1 minute'",
  );
  await database.pool.query(
    "update dure.outbox_cursor set written_at = written_at - interval '1 minute'",
  );
};

/** Publishes what is there, and leaves. */
async function publishAll(): Promise<void> {
  await using relay = createTestService({ pool: database.pool });
  await relay.dure.start();
  await waitForDrained(relay.dure);
}

describe("a sequence that was set back", () => {
  it("and has run past what was published while no relay looked, is found at take-over; a rebase sends all in order", async () => {
    const shard = await shardOf("k");
    await emitSteps(writer.dure, "k", { to: 8 });
    await publishAll();
    await age();
    await setBack(shard, 2);
    await emitSteps(writer.dure, "k", { from: 9, to: 20 });
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await waitFor(() => alertsOf(relay).length > 0, { what: "the alert" });
    await holdsFor(async () => (await numbersOf("k")).length === 8, {
      what: "silence of the shard",
      forMs: 300,
    });
    await rebase(shard);
    await emitSteps(writer.dure, "k", { from: 21, to: 22 });
    await waitFor(async () => (await numbersOf("k")).length === 22, { what: "all of them" });
    expect(await numbersOf("k")).toEqual(upTo(22));
    expect(alertsOf(relay)).toHaveLength(1);
    const incarnations = (await logMessages(database.pool)).map(({ incarnation }) => incarnation);
    expect(incarnations).toEqual([...upTo(8).map(() => 1), ...upTo(14).map(() => 2)]);
  });

  it("stays stopped when it has run past what was published under a live relay's eyes", async () => {
    const shard = await shardOf("k");
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await emitSteps(relay.dure, "k", { to: 8 });
    await waitForDrained(relay.dure);
    await setBack(shard, 2);
    await waitFor(() => alertsOf(relay).length > 0, { what: "the alert" });
    await emitSteps(relay.dure, "k", { from: 9, to: 20 });
    await holdsFor(async () => (await numbersOf("k")).length === 8, {
      what: "silence of the shard",
      forMs: 300,
    });
    await rebase(shard);
    await waitFor(async () => (await numbersOf("k")).length === 20, { what: "all of them" });
    expect(await numbersOf("k")).toEqual(upTo(20));
  });

  it("among events that wait is found though nothing is hidden yet, and the order of keys is mended", async () => {
    const shard = await shardOf("k");
    await emitSteps(writer.dure, "k", { to: 8 });
    await setBack(shard, 3);
    await emitSteps(writer.dure, "k", { from: 9, to: 11 });
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await waitFor(() => alertsOf(relay).length > 0, { what: "the alert" });
    await emitSteps(writer.dure, "k", { from: 12, to: 20 });
    await rebase(shard);
    await waitForDrained(relay.dure);
    expect(await numbersOf("k")).toEqual(upTo(20));
  });

  it("and was overlooked by a relay that went on, is found by the hourly look, and what it hid is sent late and not lost", async () => {
    const shard = await shardOf("k");
    await emitSteps(writer.dure, "k", { to: 8 });
    await publishAll();
    await age();
    await setBack(shard, 2);
    await emitSteps(writer.dure, "k", { from: 9, to: 20 });
    // As a relay records it that looked before and after, and read what stands above position 8.
    await database.pool.query(
      "insert into dure.outbox_cursor (shard, epoch, n, low, done) values ($1, 100, 1, 14, '{}')",
      [shard],
    );
    await database.pool.query("update dure.claim set epoch = 100 where slot = $1", [shard]);
    const { lines, logger } = collectLogs();
    const store = postgresStore<pg.PoolClient>({ pool: database.pool, logger });
    await store.maintain();
    await store.maintain();
    expect(lines.filter(({ level }) => level === "error")).toEqual([
      expect.objectContaining({ facts: { shards: String(shard) } }),
    ]);
    const by = { actor: "ada", reason: "hourly look" };
    expect(await writer.dure.relay.rebase(by)).toEqual([{ shard, moved: 6, incarnation: 2 }]);
    expect(await writer.dure.relay.rebase(by)).toEqual([]);
    await publishAll();
    expect(await numbersOf("k")).toEqual([...upTo(8), ...upTo(14, 9)]);
  });

  it("is not seen where there was none: after rollbacks, take-overs and a rebase", async () => {
    await emitSteps(writer.dure, "k", { to: 3 });
    for (let round = 0; round < 3; round += 1) {
      const client = await database.pool.connect();
      await client.query("begin");
      await writer.dure.outbox.emit(client, []);
      await client.query(`select nextval('dure.outbox_position_${await shardOf("k")}')`);
      await client.query("rollback");
      client.release();
      await emitSteps(writer.dure, "k", { from: 4 + round, to: 4 + round });
      await publishAll();
    }
    await rebase(await shardOf("k"));
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await emitSteps(relay.dure, "k", { from: 7, to: 7 });
    await waitFor(async () => (await numbersOf("k")).length === 7, { what: "the last" });
    expect(alertsOf(relay)).toEqual([]);
    const { rows } = await database.pool.query(
      "select dure.outbox_is_set_back(s::smallint, 200) as found from generate_series(0, 7) s where dure.outbox_is_set_back(s::smallint, 200)",
    );
    expect(rows).toEqual([]);
  });
});
