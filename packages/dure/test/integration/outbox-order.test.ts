/** For one key consumers see events in commit order, with a link to the one before (law O2; outbox-commit-order has the interleavings that break others). */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Message } from "../../src/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
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
