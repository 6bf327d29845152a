/** For one key consumers see events in commit order, with a link to the one before (law O2). */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Message } from "../../src/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handled,
  handleInto,
  logMessages,
  numbersByKey,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;

beforeAll(async () => {
  database = await createHandledDatabase("outbox_order");
  service = createTestService({ pool: database.pool });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const emit = (client: pg.PoolClient, key: string, n: number) =>
  service.dure.outbox.emit(client, stepTaken.of({ key, n }));

/** Two sessions of the pool. */
async function withTwo(work: (a: pg.PoolClient, b: pg.PoolClient) => Promise<void>): Promise<void> {
  const [a, b] = [await database.pool.connect(), await database.pool.connect()];
  try {
    await work(a, b);
  } finally {
    a.release();
    b.release();
  }
}

async function isWaiting(client: pg.PoolClient & { processID?: number }): Promise<boolean> {
  const { rowCount } = await database.pool.query(
    "select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'",
    [client.processID],
  );
  return rowCount === 1;
}

async function ofKey(key: string): Promise<readonly Message[]> {
  return (await logMessages(database.pool)).filter((message) => message.key === key);
}

async function shardOf(key: string): Promise<number> {
  const { rows } = await database.pool.query<{ shard: number }>(
    "select ((hashtextextended('step' || chr(31) || $1, 0) & 9223372036854775807) % 8)::int as shard",
    [key],
  );
  return rows[0]?.shard ?? -1;
}

describe("the order of a key", () => {
  it("is the order of commits, also when the first to take its transaction id is the last to commit", async () => {
    await withTwo(async (a, b) => {
      await a.query("begin");
      await a.query("select pg_current_xact_id()");
      await b.query("begin");
      await emit(b, "xid-first", 1);
      const waiting = emit(a, "xid-first", 2);
      await waitFor(() => isWaiting(a), { what: "the wait for the key's lock" });
      // Others of the shard are not held up by the two.
      await emitSteps(service.dure, "xid-first-neighbour", { to: 3 });
      await b.query("commit");
      await waiting;
      await a.query("commit");
    });
    const rows = (await waitForHandled(database.pool, 5)).filter(({ key }) => key === "xid-first");
    expect(rows.map(({ n }) => n)).toEqual([1, 2]);
  });

  it("is kept, and gaps close, while a transaction with an id stays open in another database of the server", async () => {
    await using other = await createTestDatabase({ migrate: false, name: "unrelated" });
    const stranger = await other.pool.connect();
    await stranger.query("begin; create table unrelated (a int); insert into unrelated values (1)");
    const lost = service.dure.transaction(async (tx) => {
      await service.dure.outbox.emit(tx, stepTaken.of({ key: "beside", n: 0 }));
      throw new Error("rolled back");
    });
    await expect(lost).rejects.toThrow("rolled back");
    await emitSteps(service.dure, "beside", { to: 5 });
    await waitForDrained(service.dure);
    await waitFor(
      async () => {
        const { rows } = await database.pool.query<{ open: boolean }>(
          `select bool_or(done <> '{}') as open from (
             select distinct on (shard) done from dure.outbox_cursor order by shard, epoch desc, n desc
           ) newest`,
        );
        return rows[0]?.open === false;
      },
      { what: "the closing of the rolled-back position's gap", timeoutMs: 5_000 },
    );
    await stranger.query("rollback");
    stranger.release();
    expect((await ofKey("beside")).map((message) => JSON.parse(message.data) as unknown)).toEqual(
      [1, 2, 3, 4, 5].map((n) => ({ key: "beside", n })),
    );
  });

  it("costs no deadlock where Dure writes the events, in whatever order they are emitted and also with colliding hashes", async () => {
    const { rows } = await database.pool.query<{ keys: [string, string] }>(`
      select (array_agg(key))[1:2] as keys from (
        select 'k' || i as key, hashtextextended('step' || chr(31) || 'k' || i, 0) as hash from generate_series(1, 500000) i
      ) k group by (hash & 9223372036854775807) % 8, ((hash >> 24) & 2147483647)::integer having count(*) > 1 limit 3`);
    expect(rows.length).toBeGreaterThan(0);
    const keys = [...rows.flatMap((row) => row.keys), "a", "b", "c"];
    const worker = async (own: number): Promise<void> => {
      for (let n = 1; n <= 60; n += 1) {
        const turned = keys.map(
          (_key, index) =>
            keys[(index * (own % 2 === 0 ? 1 : keys.length - 1) + own + n) % keys.length] ?? "",
        );
        await service.dure.transaction(async (tx) => {
          for (const key of turned) tx.emit(stepTaken, { key: `${key}`, n });
        });
      }
    };
    await Promise.all([0, 1, 2, 3, 4, 5].map(worker));
    await waitForDrained(service.dure);
  });

  it("is a clear, retryable deadlock where the user writes in several calls and another order", async () => {
    await withTwo(async (a, b) => {
      await a.query("begin");
      await b.query("begin");
      await emit(a, "left", 1);
      await emit(b, "right", 1);
      const crossing = [emit(a, "right", 2), emit(b, "left", 2)];
      const outcomes = await Promise.allSettled(crossing);
      const failed = outcomes.filter((outcome) => outcome.status === "rejected");
      expect(failed).toEqual([
        expect.objectContaining({ reason: expect.objectContaining({ code: "40P01" }) as unknown }),
      ]);
      await a.query("rollback");
      await b.query("rollback");
    });
  });

  it("is safe from a sequence that was set back: said once, nothing wrong is sent, other shards go on, a rebase loses nothing", async () => {
    const shard = await shardOf("set-back");
    await emitSteps(service.dure, "set-back", { to: 8 });
    await waitForDrained(service.dure);
    await database.pool.query(`select setval('dure.outbox_position_${shard}', 2)`);
    const alerts = () =>
      service.logs.filter(({ message }) => message.includes("OUTBOX_SEQUENCE_SET_BACK"));
    await waitFor(() => alerts().length > 0, { what: "the alert" });
    await emitSteps(service.dure, "set-back", { from: 9, to: 10 });
    const other = await Promise.all(
      ["o1", "o2", "o3", "o4"].map(async (key) => ({ key, shard: await shardOf(key) })),
    );
    for (const { key } of other.filter((candidate) => candidate.shard !== shard)) {
      const before = (await ofKey(key)).length;
      await emitSteps(service.dure, key, { to: 1 });
      await waitFor(async () => (await ofKey(key)).length === before + 1, {
        what: `an event of ${key}`,
      });
    }
    await holdsFor(async () => (await ofKey("set-back")).length === 8, {
      what: "silence of the shard",
      forMs: 300,
    });
    expect(alerts()).toHaveLength(1);
    expect(alerts()[0]).toMatchObject({ level: "error", facts: { shard } });
    const { rows } = await database.pool.query(
      `select dure.outbox_rebase(${shard}::smallint)::int as moved`,
    );
    expect(rows).toEqual([{ moved: 2 }]);
    await emitSteps(service.dure, "set-back", { from: 11, to: 12 });
    await waitFor(async () => (await ofKey("set-back")).length === 12, { what: "all twelve" });
    await waitFor(
      async () => (numbersByKey(await handled(database.pool))["set-back"] ?? []).length === 12,
      { what: "all twelve, handled" },
    );
    expect(
      disorderedKeys((await handled(database.pool)).filter(({ key }) => key === "set-back")),
    ).toEqual([]);
  });
});

describe("the link to the stream's previous event", () => {
  const links = async (key: string, count: number) => {
    await waitFor(async () => (await ofKey(key)).length === count, {
      what: `${count} events of ${key}`,
    });
    return ofKey(key);
  };

  it("is right within one call, across transactions, and after what was rolled back to a savepoint", async () => {
    await service.dure.transaction(async (tx) => {
      for (let n = 1; n <= 3; n += 1) tx.emit(stepTaken, { key: "linked", n });
      tx.emit(stepTaken, { key: "another", n: 1 });
    });
    await withTwo(async (a) => {
      await a.query("begin");
      await a.query("savepoint s");
      await emit(a, "linked", 99);
      await a.query("rollback to s");
      await emit(a, "linked", 4);
      await a.query("savepoint t");
      await emit(a, "linked", 5);
      await a.query("release t");
      await a.query("commit");
    });
    await emitSteps(service.dure, "linked", { from: 6, to: 6 });
    const messages = await links("linked", 6);
    expect(messages[0]?.link).toEqual({ kind: "first" });
    for (const [index, message] of messages.slice(1).entries()) {
      expect(message.link).toMatchObject({ kind: "after", previousId: messages[index]?.id });
    }
    expect((await links("another", 1))[0]?.link).toEqual({ kind: "first" });
  });

  it("says that it is unverified outside READ COMMITTED, where the writer is blind", async () => {
    await emitSteps(service.dure, "blind", { to: 1 });
    await withTwo(async (a) => {
      for (const [index, level] of ["repeatable read", "serializable"].entries()) {
        await a.query(`begin isolation level ${level}`);
        await a.query("select count(*) from handled");
        await emit(a, "blind", index + 2);
        await a.query("commit");
      }
    });
    const messages = await links("blind", 3);
    expect(messages.map(({ link }) => link.kind)).toEqual(["first", "unverified", "unverified"]);
  });

  it("is what the consumer verifies: no gap, no reorder in all of this file", async () => {
    await waitForDrained(service.dure);
    const total = (await logMessages(database.pool)).length;
    await waitForHandled(database.pool, total);
    const { order } = await service.dure.status();
    expect(order["steps"]).toMatchObject({
      gaps: 0,
      reorders: 0,
      duplicates: 0,
      unverified: 2,
      verified: total - 2,
    });
  });
});
