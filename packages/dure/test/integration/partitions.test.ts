/** A partition goes when its day is over and nobody needs it; one that holds anything unpublished or unread, or is being written to, never does (law O2 f). */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { migrate, postgresStore } from "../../src/postgres/index.ts";
import { sqlStateOf } from "../../src/postgres/sqlstate.ts";
import { checkThenDrop } from "../naive/check-then-drop.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { sentSteps, withSessions } from "./order-scenarios.ts";
import {
  collectLogs,
  createHandledDatabase,
  createTestService,
  emitSteps,
  handleInto,
  logMessages,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
beforeEach(async () => {
  database = await createHandledDatabase("partitions");
  service = createTestService({ pool: database.pool, relay: false });
  await service.dure.start();
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const partitionsOf = async (table: string, pool = database.pool): Promise<readonly string[]> =>
  (
    await pool.query<{ name: string }>(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = $1::regclass order by 1",
      [`dure.${table}`],
    )
  ).rows.map(({ name }) => name);

const dayAgo = async (days: number): Promise<string> => {
  const { rows } = await database.pool.query<{ day: string }>(
    "select to_char((now() at time zone 'UTC')::date - $1::int, 'YYYYMMDD') as day",
    [days],
  );
  return rows[0]?.day ?? "";
};

/** Moves everything that is there ten days into the past. */
async function age(
  table: "outbox_message" | "log_message",
  column: "written_at" | "appended_at",
): Promise<string> {
  const day = await dayAgo(10);
  await database.pool.query("select dure.partition_create($1, $2::date)", [table, day]);
  await database.pool.query(`update dure.${table} set ${column} = ${column} - interval '10 days'`);
  return `dure.${table}_${day}`;
}

const maintain = (retention: object = {}) => {
  const { lines, logger } = collectLogs();
  const store = postgresStore<pg.PoolClient>({ pool: database.pool, logger, retention });
  return store.maintain().then(() => lines);
};

/**
 * A writer has put event 2 into a partition of old, published events and has not committed; `drop` tries to drop it;
 * a neighbour writes event 3 of today; then the writer commits, and a relay sends what there is.
 */
async function dropUnderWriter(drop: (partition: string) => Promise<unknown>) {
  const { pool } = database;
  await emitSteps(service.dure, "k", { to: 1 });
  const old = await age("outbox_message", "written_at");
  const relay = createTestService({ pool });
  await relay.dure.start();
  await waitForDrained(relay.dure);
  await relay.stop();
  const neighbour = await withSessions(pool, 2, async (...sessions) => {
    const [writer, other] = sessions as [pg.PoolClient, pg.PoolClient]; // two were asked for
    await writer.query("begin");
    await service.dure.outbox.emit(writer, stepTaken.of({ key: "k", n: 2 }));
    await writer.query(
      "update dure.outbox_message set written_at = written_at - interval '10 days' where written_at > now() - interval '1 day'",
    );
    let isOver = false;
    const dropping = drop(old).finally(() => (isOver = true));
    await waitFor(async () => isOver || (await isDropWaiting()), { what: "the drop, or its wait" });
    await other.query("begin; set local lock_timeout = '200ms'");
    const written = await service.dure.outbox
      .emit(other, stepTaken.of({ key: "neighbour", n: 3 }))
      .then(
        () => "written",
        (error: unknown) => sqlStateOf(error),
      );
    await other.query(written === "written" ? "commit" : "rollback");
    await writer.query("commit");
    await dropping;
    if (written !== "written") await emitSteps(service.dure, "neighbour", { from: 3, to: 3 });
    return written;
  });
  const isThere = (await partitionsOf("outbox_message")).includes(old);
  await using next = createTestService({ pool });
  await next.dure.start();
  await waitForDrained(next.dure);
  const sent = await sentSteps(pool);
  return { old, neighbour, isThere, sent: sent.map(({ n }) => n).toSorted((x, y) => x - y) };
}

async function isDropWaiting(): Promise<boolean> {
  const { rowCount } = await database.pool.query(
    "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ~ '^drop table|maintenance.drop'",
  );
  return rowCount === 1;
}

describe("partitions", () => {
  it("are there for today and the days to come, from the migration on, and made by many at once without an error", async () => {
    await using fresh = await createTestDatabase({
      migrate: false,
      name: "fresh",
      poolSizeMax: 20,
    });
    await migrate({ pool: fresh.pool });
    const days = await Promise.all([0, 1, 2, 3].map((ahead) => dayAgo(-ahead)));
    const expected = (table: string) => [
      ...days.map((day) => `dure.${table}_${day}`),
      `dure.${table}_rest`,
    ];
    for (const table of ["outbox_message", "log_message"])
      expect(await partitionsOf(table, fresh.pool)).toEqual(expected(table));
    await fresh.pool.query(
      `drop table dure.outbox_message_${days[3]}, dure.log_message_${days[3]}, dure.log_message_${days[2]}`,
    );
    const stores = Array.from({ length: 12 }, () =>
      postgresStore<pg.PoolClient>({ pool: fresh.pool }),
    );
    await Promise.all(stores.map((store) => store.maintain()));
    // Who came second may have given up after 50 ms; whoever comes next finds or makes them.
    await stores[0]?.maintain();
    for (const table of ["outbox_message", "log_message"])
      expect(await partitionsOf(table, fresh.pool)).toEqual(expected(table));
  });

  it("of the outbox are kept while anything in them is not published, and then dropped", async () => {
    await emitSteps(service.dure, "k", { to: 5 });
    const old = await age("outbox_message", "written_at");
    expect((await maintain()).map(({ message }) => message)).toContain(
      "an old partition is still needed",
    );
    expect(await partitionsOf("outbox_message")).toContain(old);
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await waitForDrained(relay.dure);
    await maintain({ messagesMs: 11 * 86_400_000 });
    expect(await partitionsOf("outbox_message")).toContain(old);
    await maintain();
    expect(await partitionsOf("outbox_message")).not.toContain(old);
    expect(await logMessages(database.pool)).toHaveLength(5);
    // What comes after has lost sight of the one before, and says that it is the first.
    await emitSteps(relay.dure, "k", { from: 6, to: 6 });
    await waitFor(async () => (await logMessages(database.pool)).length === 6, {
      what: "the next event",
    });
    expect((await logMessages(database.pool)).at(-1)?.link).toEqual({ kind: "first" });
  });

  it("of the outbox are never dropped under a writer whose transaction is open, nor what it then commits, and writers of other days are not held up", async () => {
    const { old, ...outcome } = await dropUnderWriter(() => maintain());
    expect(outcome).toEqual({ neighbour: "written", isThere: true, sent: [1, 2, 3] });
    await maintain();
    expect(await partitionsOf("outbox_message")).not.toContain(old);
  });

  it("that are looked at and then dropped take with them what an open transaction commits, and hold up all writers", async () => {
    const { old: _, ...outcome } = await dropUnderWriter((partition) =>
      checkThenDrop(database.pool, partition),
    );
    expect(outcome).toEqual({ neighbour: "55P03", isThere: false, sent: [1, 3] });
  });

  it("of the log are kept until every group has read them, whatever their age", async () => {
    await using first = createTestService({ pool: database.pool });
    first.dure.on(stepTaken, { group: "fast" }, handleInto("fast"));
    await first.dure.start();
    const slow = createTestService({ pool: database.pool, relay: false });
    slow.dure.on(stepTaken, { group: "slow" }, handleInto("slow"));
    await slow.dure.start();
    await waitFor(async () => (await first.log.lag()).some(({ group }) => group === "slow"), {
      what: "the slow group",
    });
    await slow.stop();
    await emitSteps(first.dure, "k", { to: 5 });
    await waitForHandled(database.pool, 5, { consumer: "fast" });
    await waitFor(
      async () =>
        (await first.log.lag()).every(({ group, messages }) => group !== "fast" || messages === 0),
      { what: "the fast group's offsets" },
    );
    const old = await age("log_message", "appended_at");
    await maintain();
    expect(await partitionsOf("log_message")).toContain(old);
    await using again = createTestService({ pool: database.pool, relay: false });
    again.dure.on(stepTaken, { group: "slow" }, handleInto("slow"));
    await again.dure.start();
    await waitForHandled(database.pool, 5, { consumer: "slow" });
    await waitFor(async () => (await first.log.lag()).every(({ messages }) => messages === 0), {
      what: "all offsets",
    });
    await maintain();
    expect(await partitionsOf("log_message")).not.toContain(old);
  });
});

describe("dedup records", () => {
  it("are removed when they are older than their retention, all of them and no younger one", async () => {
    await database.pool.query(
      `insert into dure.inbox_message (consumer, message_id, received_at)
       select 'c', i::text, now() - case when i <= 12000 then interval '31 days' else interval '29 days' end from generate_series(1, 12010) i`,
    );
    await maintain();
    const { rows } = await database.pool.query(
      "select count(*)::int as count from dure.inbox_message",
    );
    expect(rows).toEqual([{ count: 10 }]);
  });
});
