/** A partition goes when its day is over and nobody needs it; one that holds anything unpublished or unread, or is being written to, never does (law O2 f). */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { migrate, postgresStore, postgresTransport } from "../../src/postgres/index.ts";
import type { Retention } from "../../src/postgres/index.ts";
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
  handled,
  handleInto,
  logMessages,
  stepTaken,
  type LogLine,
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

/** The care of a service's tables and of its log, as a running service gives it every hour. */
async function maintain(retention: Retention = {}): Promise<readonly LogLine[]> {
  const { lines, logger } = collectLogs();
  const { pool } = database;
  const store = postgresStore<pg.PoolClient>({ pool, logger, retention });
  const { messagesMs } = retention;
  const log = postgresTransport({
    pool,
    logger,
    ...(messagesMs !== undefined && { retentionMs: messagesMs }),
  });
  await store.maintain();
  await log.maintain();
  await log.close();
  return lines;
}

const messagesOf = (lines: readonly LogLine[]): readonly string[] =>
  lines.map(({ message }) => message);

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
    const cared = Array.from({ length: 6 }, () => [
      postgresStore<pg.PoolClient>({ pool: fresh.pool }),
      postgresTransport({ pool: fresh.pool }),
    ]).flat();
    await Promise.all(cared.map((one) => one.maintain()));
    // Who came second may have given up after 50 ms; whoever comes next finds or makes them.
    for (const one of cared.slice(0, 2)) await one.maintain();
    for (const table of ["outbox_message", "log_message"])
      expect(await partitionsOf(table, fresh.pool)).toEqual(expected(table));
  });

  it("of the outbox are kept while anything in them is not published, and then dropped", async () => {
    await emitSteps(service.dure, "k", { to: 5 });
    const old = await age("outbox_message", "written_at");
    expect(messagesOf(await maintain())).toContain("an old partition is still needed");
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

  it("of messages that are parked stay, whatever their age: a copy that comes is not handled beside its original", async () => {
    await using steps = createTestService({
      pool: database.pool,
      consumer: { retry: { attempts: 1 }, pollMsMax: 100 },
    });
    let isMended = false;
    const handle = handleInto("steps");
    steps.dure.on(stepTaken, { whenPoisoned: "skip" }, async (message, tx) => {
      if (!isMended) throw new Error("not yet");
      await handle(message, tx);
    });
    await steps.dure.start();
    await emitSteps(steps.dure, "k", { to: 1 });
    await waitFor(async () => (await steps.dure.status()).deadLetters === 1, {
      what: "it is dead",
    });
    await database.pool.query(
      "update dure.inbox_message set received_at = received_at - interval '31 days'",
    );
    await maintain();
    isMended = true;
    // A copy, as a broker that keeps messages for long may deliver it.
    const [original] = await logMessages(database.pool);
    if (original !== undefined) {
      await steps.log.publish([original], { fences: [], signal: AbortSignal.timeout(5_000) });
    }
    await waitFor(async () => (await steps.log.lag()).every(({ messages }) => messages === 0), {
      what: "the copy was seen",
    });
    await steps.dure.deadLetters.redrive({}, { actor: "ada" });
    await waitForHandled(database.pool, 1);
    await waitFor(async () => (await steps.dure.status()).waiting === 0, { what: "it is done" });
    expect(await handled(database.pool)).toHaveLength(1);
    await database.pool.query(
      "update dure.inbox_message set received_at = received_at - interval '31 days'",
    );
    await maintain();
    const { rows } = await database.pool.query("select from dure.inbox_message");
    expect(rows).toEqual([]);
  });
});

describe("the default partition", () => {
  /** As if maintenance had not run for days: today's rows find no partition. */
  const loseToday = async () => {
    await database.pool.query(`drop table dure.outbox_message_${await dayAgo(0)}`);
  };

  it("goes as a whole when all of it is old and published, and an empty one takes its place", async () => {
    await loseToday();
    await emitSteps(service.dure, "k", { to: 5 });
    const said = messagesOf(await maintain());
    expect(said.some((message) => message.startsWith("today has no partition"))).toBe(true);
    await database.pool.query(
      "update dure.outbox_message_rest set written_at = written_at - interval '10 days'",
    );
    expect(messagesOf(await maintain())).toContain("an old partition is still needed");
    const count = async () =>
      (await database.pool.query("select from dure.outbox_message")).rowCount;
    expect(await count()).toBe(5);
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await waitForDrained(relay.dure);
    await emitSteps(relay.dure, "young", { to: 1 });
    await waitForDrained(relay.dure);
    const moved = await database.pool.query(
      "update dure.outbox_message set written_at = written_at - interval '1 day' where key = 'young'",
    );
    expect(moved.rowCount).toBe(1);
    await database.pool.query("delete from dure.outbox_message where key = 'young'");
    await maintain();
    expect(await count()).toBe(0);
    expect(await partitionsOf("outbox_message")).toContain("dure.outbox_message_rest");
    await emitSteps(relay.dure, "k", { from: 6, to: 6 });
    await waitFor(async () => (await logMessages(database.pool)).length === 7, {
      what: "the next",
    });
  });

  it("stays while anything in it is young", async () => {
    await loseToday();
    await emitSteps(service.dure, "k", { to: 2 });
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await waitForDrained(relay.dure);
    await database.pool.query(
      "update dure.outbox_message_rest set written_at = written_at - interval '10 days' where position = (select min(position) from dure.outbox_message_rest)",
    );
    await maintain();
    const { rows } = await database.pool.query("select from dure.outbox_message_rest");
    expect(rows).toHaveLength(2);
  });
});

describe("too many partitions", () => {
  it("are warned of, once", async () => {
    for (let day = 5; day < 30; day += 1) {
      const { pool } = database;
      await pool.query("select dure.partition_create('outbox_message', $1::date)", [
        await dayAgo(-day),
      ]);
    }
    const { lines, logger } = collectLogs();
    const store = postgresStore<pg.PoolClient>({ pool: database.pool, logger });
    await store.maintain();
    await store.maintain();
    expect(lines.filter(({ level }) => level === "warn")).toEqual([
      expect.objectContaining({ facts: { count: 30 } }),
    ]);
  });
});
