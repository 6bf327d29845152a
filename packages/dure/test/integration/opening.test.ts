/** BEGIN travels with the first statement of a transaction, and nothing that a transaction promises is lost by it. */
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { createTestService, stepTaken, type TestService } from "./service-fixture.ts";

const idleMs = 12_345;
let database: TestDatabase;
let pool: pg.Pool;
let service: TestService;
/** Answers of the server that end a round trip, on the one connection of the pool. */
let roundTrips = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query("create table note (id bigint primary key)");
  pool = new pg.Pool({ connectionString: database.url, max: 1 });
  // A connection that the server ends is an event too.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => {
    const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
    connection.on("readyForQuery", () => {
      roundTrips += 1;
    });
  });
  service = createTestService({ pool, idleInTransactionMsMax: idleMs });
});
beforeEach(async () => {
  await pool.query("delete from note");
  roundTrips = 0;
});
afterAll(async () => {
  await service.stop();
  await pool.end();
  await database[Symbol.asyncDispose]();
});

async function notes(): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ id: string }>("select id from note order by id");
  return rows.map(({ id }) => id);
}

const insert = "insert into note (id) values ($1)";

describe("a transaction of the library", () => {
  it("takes two round trips for one statement, and is one", async () => {
    await service.dure.transaction(async (tx) => {
      await tx.query(insert, [1]);
      expect(roundTrips).toBe(1);
      expect(await notes()).toEqual([]);
    });
    expect(roundTrips).toBe(2);
    expect(await notes()).toEqual(["1"]);
  });

  it("gives the rows of its first statement and no others, read by the types of the client", async () => {
    const result = await service.dure.transaction((tx) =>
      tx.query(
        `select $1::bigint as big, '2026-01-02'::timestamptz as at, 3 as small, array[1, 2] as list,
          current_setting('transaction_isolation') as isolation,
          current_setting('idle_in_transaction_session_timeout') as idle`,
        [7],
      ),
    );
    expect(Array.isArray(result)).toBe(false);
    expect(result.rowCount).toBe(1);
    expect(result.rows).toEqual([
      {
        big: "7",
        at: expect.any(Date) as Date,
        small: 3,
        list: [1, 2],
        isolation: "read committed",
        idle: `${idleMs}ms`,
      },
    ]);
  });

  it("begins in front of whatever the client itself is told", async () => {
    const failing = service.dure.transaction(async ({ client }) => {
      await client.query(insert, [1]);
      throw new Error("changed my mind");
    });
    await expect(failing).rejects.toThrow("changed my mind");
    expect(await notes()).toEqual([]);
    await service.dure.transaction(async (tx) => {
      await Promise.all([
        tx.query("select 1"),
        tx.query(insert, [2]),
        tx.client.query(insert, [3]),
      ]);
    });
    expect(await notes()).toEqual(["2", "3"]);
  });

  it("is refused when its first statement failed and nobody was told", async () => {
    const swallowing = service.dure.transaction(async (tx) => {
      await tx.query("insert into nowhere values ($1)", [1]).catch(() => undefined);
    });
    await expect(swallowing).rejects.toMatchObject({ code: "COMMIT_REFUSED" });
    const next = service.dure.transaction((tx) => tx.query("select 1 / $1::int as n", [0]));
    await expect(next).rejects.toMatchObject({ code: "22012" });
    expect(await notes()).toEqual([]);
  });

  it("commits its events also where it runs no statement, and begins nothing when it is over", async () => {
    const over = await service.dure.transaction((tx) => {
      tx.emit(stepTaken, { key: "opening", n: 1 });
      return Promise.resolve(tx);
    });
    expect(roundTrips).toBe(1);
    const { rows } = await pool.query("select 1 from dure.outbox_message where key = 'opening'");
    expect(rows).toHaveLength(1);
    await over.client.query(insert, [1]);
    await pool.query("rollback");
    expect(await notes()).toEqual(["1"]);
  });

  it("says that it could not begin when the connection is lost before, and nothing has happened", async () => {
    const lost = service.dure.transaction(async (tx) => {
      const { rows } = await database.pool.query<{ pid: number }>(
        `select pid from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and state = 'idle'`,
      );
      for (const { pid } of rows) {
        await database.pool
          .query("select pg_terminate_backend($1, 5000)", [pid])
          .catch(() => undefined);
      }
      await tx.query(insert, [1]);
    });
    await expect(lost).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    expect(await notes()).toEqual([]);
    await service.dure.transaction((tx) => tx.query(insert, [2]));
    expect(await notes()).toEqual(["2"]);
  });
});
