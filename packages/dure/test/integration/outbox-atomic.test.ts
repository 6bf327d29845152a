/** An event is published if and only if its transaction committed (law O1). */
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  emitSteps,
  logMessages,
  stepTaken,
  type TestService,
  waitForDrained,
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;

beforeAll(async () => {
  database = await createHandledDatabase("outbox_atomic");
  service = createTestService({ pool: database.pool });
  await service.dure.start();
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const outboxCount = async (): Promise<number> => {
  const { rows } = await database.pool.query<{ count: number }>(
    "select count(*)::int as count from dure.outbox_message",
  );
  return rows[0]?.count ?? -1;
};

describe("an event and its transaction", () => {
  it("appear together or not at all: of a thousand rolled back under load none appears, of those committed none is missing", async () => {
    const { dure } = service;
    const writer = async (worker: number): Promise<void> => {
      for (let n = 1; n <= 250; n += 1) {
        const roll = dure.transaction(async (tx) => {
          tx.emit(stepTaken, { key: `rolled-${worker}`, n });
          await tx.query("select 1");
          throw new Error("rolled back");
        });
        await expect(roll).rejects.toThrow("rolled back");
        if (n % 5 === 0) await emitSteps(dure, `kept-${worker}`, { from: n / 5, to: n / 5 });
      }
    };
    const rawWriter = async (): Promise<void> => {
      const client = await database.pool.connect();
      for (let n = 1; n <= 250; n += 1) {
        await client.query("begin");
        await dure.outbox.emit(client, stepTaken.of({ key: "rolled-raw", n }));
        await client.query("rollback");
      }
      client.release();
    };
    await Promise.all([writer(0), writer(1), writer(2), writer(3), rawWriter()]);
    await waitForDrained(dure);
    const published = await logMessages(database.pool);
    expect(published.filter((message) => message.key.startsWith("rolled"))).toEqual([]);
    expect(published.filter((message) => message.key.startsWith("kept"))).toHaveLength(200);
  });

  it("are refused outside a transaction, whoever holds the connection, and nothing is written", async () => {
    const before = await outboxCount();
    const { outbox } = service.dure;
    const outside = { code: "NOT_IN_TRANSACTION" };
    await expect(
      outbox.emit(database.pool, stepTaken.of({ key: "lost", n: 1 })),
    ).rejects.toMatchObject(outside);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await expect(outbox.emit(client, stepTaken.of({ key: "lost", n: 2 }))).rejects.toMatchObject(
      outside,
    );
    await client.query("begin; select pg_current_xact_id()");
    await client.query("commit");
    await expect(outbox.emit(client, stepTaken.of({ key: "lost", n: 3 }))).rejects.toMatchObject(
      outside,
    );
    await client.query("begin");
    await outbox.emit(client, stepTaken.of({ key: "kept", n: 4 }));
    await client.query("commit");
    await client.end();
    expect(await outboxCount()).toBe(before + 1);
  });

  it("fail together when COMMIT answers ROLLBACK because a failed statement was swallowed", async () => {
    const before = await outboxCount();
    const swallowed = service.dure.transaction(async (tx) => {
      await tx.query("select 1 / 0").catch(() => undefined);
    });
    await expect(swallowed).rejects.toMatchObject({ code: "COMMIT_REFUSED" });
    const withEvent = service.dure.transaction(async (tx) => {
      tx.emit(stepTaken, { key: "swallowed", n: 1 });
      await tx.query("select 1 / 0").catch(() => undefined);
    });
    await expect(withEvent).rejects.toMatchObject({ code: "25P02" });
    expect(await outboxCount()).toBe(before);
  });

  it("are refused when the work has ended the transaction itself: no event is written alone", async () => {
    const before = await outboxCount();
    const ended = service.dure.transaction(async (tx) => {
      await tx.query("insert into handled (key) values ('ended')");
      tx.emit(stepTaken, { key: "ended", n: 1 });
      await tx.query("rollback");
    });
    await expect(ended).rejects.toMatchObject({ code: "NOT_IN_TRANSACTION" });
    expect(await outboxCount()).toBe(before);
  });

  it("end together: an event that is emitted after the work has returned is refused, not lost", async () => {
    const { dure } = service;
    let late: Promise<unknown> = Promise.resolve();
    await dure.transaction(async (tx) => {
      tx.emit(stepTaken, { key: "in-time", n: 1 });
      // Not awaited by the work: comes while the library writes the events and commits.
      late = Promise.resolve().then(async () => {
        for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
        tx.emit(stepTaken, { key: "too-late", n: 1 });
      });
      late.catch(() => undefined);
    });
    await expect(late).rejects.toMatchObject({ code: "TRANSACTION_ENDED" });
  });

  it("are undone together when the data does not fit the schema, the key is unusable or the keys are too many", async () => {
    const before = await outboxCount();
    const { dure } = service;
    const emitOne = (data: { key: string; n: number }) =>
      dure.transaction(async (tx) => {
        await tx.query("insert into handled (key) values ('business')");
        tx.emit(stepTaken, data);
      });
    await expect(emitOne({ key: "x", n: "one" as unknown as number })).rejects.toMatchObject({
      code: "EVENT_INVALID",
    });
    for (const key of ["", "a\u001fb", "a\0b", "\ud800", "k".repeat(513)]) {
      await expect(emitOne({ key, n: 1 })).rejects.toMatchObject({ code: "EVENT_INVALID" });
    }
    const many = dure.transaction(async (tx) => {
      for (let n = 0; n < 1_001; n += 1) tx.emit(stepTaken, { key: `many-${n}`, n });
    });
    await expect(many).rejects.toMatchObject({ code: "TOO_MANY_KEYS" });
    expect(await outboxCount()).toBe(before);
    const { rows } = await database.pool.query("select from handled where key = 'business'");
    expect(rows).toEqual([]);
  });

  it("survive a session that is ended between two statements: the error is the caller's, not the process's", async () => {
    const lost = service.dure.transaction(async (tx) => {
      const { rows } = await tx.query("select pg_backend_pid() as pid");
      tx.emit(stepTaken, { key: "cut", n: 1 });
      const pid = rows[0]?.["pid"];
      await database.pool.query("select pg_terminate_backend($1)", [pid]);
      await waitFor(
        async () =>
          (await database.pool.query("select from pg_stat_activity where pid = $1", [pid]))
            .rowCount === 0,
        { what: "the session's end" },
      );
    });
    await expect(lost).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    const { rows } = await database.pool.query("select from dure.outbox_message where key = 'cut'");
    expect(rows).toEqual([]);
  });
});
