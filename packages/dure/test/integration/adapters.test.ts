/** An event written through any client's transaction commits with the business row of that transaction, or not at all. */
import { drizzle as drizzleOnPg } from "drizzle-orm/node-postgres";
import { drizzle as drizzleOnPostgresJs } from "drizzle-orm/postgres-js";
import { sql as drizzleSql } from "drizzle-orm";
import { CamelCasePlugin, Kysely, PostgresDialect, sql as kyselySql } from "kysely";
import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDure, event } from "../../src/index.ts";
import type { StandardSchema, TransactionHandle } from "../../src/index.ts";
import {
  postgresGuardedTable,
  postgresParticipantBarrier,
  postgresSemanticLocks,
  postgresStore,
} from "../../src/postgres/index.ts";
import { fromDrizzle, fromKysely, fromPg, fromPostgresJs } from "../../src/transaction/index.ts";
import { createTestDatabase } from "../support/test-database.ts";
import type { TestDatabase } from "../support/test-database.ts";

interface Order {
  readonly id: string;
  readonly note: string;
}

const schema: StandardSchema<Order> = {
  "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as Order }) },
};
const OrderPlaced = event("order.placed", { version: 1, schema, key: (order) => order.id });

let database: TestDatabase;
let root: postgres.Sql;
let kysely: Kysely<object>;

beforeAll(async () => {
  database = await createTestDatabase({ name: "adapters" });
  await database.pool.query("create table business (id text primary key)");
  root = postgres(database.url, { max: 2, onnotice: () => {} });
  kysely = new Kysely({
    dialect: new PostgresDialect({ pool: database.pool }),
    plugins: [new CamelCasePlugin()],
  });
});

afterAll(async () => {
  await root?.end();
  await database?.[Symbol.asyncDispose]();
});

/** Writes a business row with the client's own means. */
type InsertRow = (id: string) => PromiseLike<unknown>;
type Work = (tx: TransactionHandle, insertRow: InsertRow) => Promise<unknown>;

/** Runs the work in one transaction as a user of that client does. */
const ways: Readonly<Record<string, (work: Work) => Promise<unknown>>> = {
  async pg(work) {
    const client = await database.pool.connect();
    try {
      await client.query("begin");
      await work(fromPg(client), (id) => client.query("insert into business values ($1)", [id]));
      await client.query("commit");
    } catch (error) {
      await client.query("rollback");
      throw error;
    } finally {
      client.release();
    }
  },
  "postgres.js": (work) =>
    root.begin((sql) =>
      work(fromPostgresJs(sql), (id) => sql`insert into business values (${id})`),
    ),
  Kysely: (work) =>
    kysely
      .transaction()
      .execute((trx) =>
        work(fromKysely(trx), (id) => kyselySql`insert into business values (${id})`.execute(trx)),
      ),
  "Drizzle on node-postgres": (work) =>
    drizzleOnPg({ client: database.pool }).transaction((tx) =>
      work(fromDrizzle(tx), (id) => tx.execute(drizzleSql`insert into business values (${id})`)),
    ),
  "Drizzle on postgres.js": (work) =>
    drizzleOnPostgresJs({ client: root }).transaction((tx) =>
      work(fromDrizzle(tx), (id) => tx.execute(drizzleSql`insert into business values (${id})`)),
    ),
};

const { outbox } = createDureOnPool();

function createDureOnPool(): { outbox: ReturnType<typeof createDure>["outbox"] } {
  // The outbox writes through the handle alone; its store's own pool is never asked.
  const unused = new pg.Pool({ max: 1, connectionString: "postgres://nowhere.invalid/none" });
  return createDure({ service: "order", store: postgresStore({ pool: unused }) });
}

const awkward = `quote ' " \\ $1 ? ?? :name {} \u2028 한국어 🧾`;

async function eventsOf(key: string): Promise<readonly { data: string; xid: string }[]> {
  const { rows } = await database.pool.query<{ data: string; xid: string }>(
    "select data, xmin::text as xid from dure.outbox_message where key = $1 order by position",
    [key],
  );
  return rows;
}

async function rowOf(id: string): Promise<string | undefined> {
  const { rows } = await database.pool.query<{ xid: string }>(
    "select xmin::text as xid from business where id = $1",
    [id],
  );
  return rows[0]?.xid;
}

describe.each(Object.keys(ways).map((name) => [name]))("through %s", (name) => {
  const run = (work: Work): Promise<unknown> => {
    const way = ways[name];
    if (way === undefined) throw new Error(name);
    return way(work);
  };

  it("several events commit in the transaction of the business row, in the order given", async () => {
    const id = `${name}-commit`;
    const xids: unknown[] = [];
    await run(async (tx, insertRow) => {
      await insertRow(id);
      const { rows } = await tx.query(
        "select pg_current_xact_id()::text as xid, $1::boolean as flag",
        [true],
      );
      xids.push(rows[0]?.["xid"], rows[0]?.["flag"]);
      await outbox.emit(tx, [
        OrderPlaced.of({ id, note: awkward }),
        OrderPlaced.of({ id, note: "second" }),
        OrderPlaced.of({ id, note: "third" }),
      ]);
    });
    const events = await eventsOf(id);
    expect(events.map((row) => (JSON.parse(row.data) as Order).note)).toEqual([
      awkward,
      "second",
      "third",
    ]);
    expect(xids).toEqual([await rowOf(id), true]);
    expect(new Set(events.map((row) => row.xid))).toEqual(new Set([await rowOf(id)]));
  });

  it("an event that is the transaction's first write is in it all the same", async () => {
    const id = `${name}-first`;
    await run(async (tx, insertRow) => {
      await outbox.emit(tx, OrderPlaced.of({ id, note: "first" }));
      await insertRow(id);
    });
    expect(await eventsOf(id)).toMatchObject([{ xid: await rowOf(id) }]);
  });

  it("a rollback takes the events with it", async () => {
    const id = `${name}-rollback`;
    const attempt = run(async (tx, insertRow) => {
      await insertRow(id);
      await outbox.emit(tx, OrderPlaced.of({ id, note: "never" }));
      throw new Error("the business says no");
    });
    await expect(attempt).rejects.toThrow("the business says no");
    expect(await rowOf(id)).toBeUndefined();
    expect(await eventsOf(id)).toEqual([]);
  });

  it("an error of our SQL has our code and no payload, and the transaction commits nothing", async () => {
    const id = `${name}-many`;
    const events = Array.from({ length: 1_001 }, (_, n) =>
      OrderPlaced.of({ id: `${id}-${n}`, note: "secret" }),
    );
    const errors: unknown[] = [];
    const attempt = run(async (tx, insertRow) => {
      await insertRow(id);
      await outbox.emit(tx, events).catch((error: unknown) => {
        errors.push(error);
        throw error;
      });
    });
    await expect(attempt).rejects.toMatchObject({ code: "TOO_MANY_KEYS" });
    expect(String(errors[0])).not.toContain("secret");
    expect(await rowOf(id)).toBeUndefined();
  });

  it("the participant barrier reads back what it wrote", async () => {
    const barrier = postgresParticipantBarrier();
    const call = { key: `${name}/charge` };
    const undo = { key: `${name}/refund`, compensates: call.key };
    await run((tx) => barrier.forward(tx, call, () => Promise.resolve({ charged: 5 })));
    const outcomes: unknown[] = [];
    await run(async (tx) => {
      outcomes.push(await barrier.forward(tx, call, () => Promise.reject(new Error("twice"))));
      outcomes.push(
        await barrier.compensate(tx, undo, (answer) => Promise.resolve({ undid: answer })),
      );
      outcomes.push(await barrier.compensate(tx, undo, () => Promise.reject(new Error("twice"))));
    });
    const answer = { undid: { charged: 5 } };
    expect(outcomes).toEqual([
      { kind: "replayed", answer: { charged: 5 } },
      { kind: "executed", answer },
      { kind: "replayed", answer },
    ]);
  });

  it("locks and guarded rows answer alike, and a wait that is over ends no transaction", async () => {
    const locks = postgresSemanticLocks();
    const rows = postgresGuardedTable({ table: "business", statusColumn: "id", columns: ["id"] });
    const claim = { resource: `${name}-room`, owner: "SAGA-1", token: 1 };
    const [id, held] = [`${name}-row`, `${name}-held`];
    const rival = await database.pool.connect();
    await rival.query("insert into business values ($1)", [held]);
    await rival.query("begin");
    await rival.query("select from business where id = $1 for update", [held]);
    const outcomes: { readonly kind: string }[] = [];
    await run(async (tx, insertRow) => {
      outcomes.push(await locks.acquire(tx, claim), await locks.confirm(tx, claim));
      outcomes.push(await rows.lockRow(tx, { id: held, waitMs: 5 }));
      await insertRow(id);
      outcomes.push(await rows.rereadValue(tx, { id, before: { id } }));
      outcomes.push(await rows.transition(tx, { id, from: [id, "b"], to: `${id}-moved` }));
    });
    await rival.query("rollback");
    rival.release();
    const kinds = outcomes.map(({ kind }) => kind);
    expect(kinds).toEqual(["acquired", "confirmed", "busy", "unchanged", "moved"]);
    expect(await rowOf(`${id}-moved`)).toBeDefined();
    expect(await locks.read(database.pool, claim)).toMatchObject({ state: "RESERVED", token: 1 });
  });

  it("an error of a statement keeps its SQLSTATE", async () => {
    const attempt = run(async (tx) => {
      await expect(tx.query("select 1 / $1::int", [0])).rejects.toMatchObject({ code: "22012" });
      throw new Error("seen");
    });
    // postgres.js itself remembers a failed statement of the transaction and rejects with that.
    await expect(attempt).rejects.toThrow(/seen|division by zero/);
  });
});

describe("what is no transaction is refused, and nothing is written", () => {
  const refused = { code: "CONFIGURATION_INVALID" };
  const emit = (tx: TransactionHandle): Promise<unknown> =>
    outbox.emit(tx, OrderPlaced.of({ id: "refused", note: "never" }));

  it("by the adapter, where it can be seen", () => {
    const db = drizzleOnPg({ client: database.pool });
    const cases: readonly (readonly [string, () => unknown])[] = [
      ["pool", () => fromPg(database.pool as never)],
      ["root sql", () => fromPostgresJs(root as never)],
      ["the db", () => fromKysely(kysely as never)],
      ["the db", () => fromDrizzle(db as never)],
      ["no pg client", () => fromPg(undefined as never)],
      ["no sql of postgres.js", () => fromPostgresJs({} as never)],
      ["no Kysely transaction", () => fromKysely(null as never)],
      ["no Drizzle transaction", () => fromDrizzle({} as never)],
    ];
    for (const [words, make] of cases) {
      expect(make, words).toThrow(
        expect.objectContaining({ ...refused, message: expect.stringContaining(words) as string }),
      );
    }
  });

  it("by the database, where it cannot: a pg client and a reserved postgres.js connection in autocommit", async () => {
    const client = await database.pool.connect();
    const reserved = await root.reserve();
    try {
      await expect(emit(fromPg(client))).rejects.toMatchObject({ code: "NOT_IN_TRANSACTION" });
      await expect(emit(fromPostgresJs(reserved))).rejects.toMatchObject({
        code: "NOT_IN_TRANSACTION",
      });
    } finally {
      client.release();
      reserved.release();
    }
    expect(await eventsOf("refused")).toEqual([]);
  });

  it("but a reserved connection of postgres.js after BEGIN, and a controlled transaction of Kysely, are transactions", async () => {
    const reserved = await root.reserve();
    await reserved`begin`;
    await outbox.emit(fromPostgresJs(reserved), OrderPlaced.of({ id: "reserved", note: "" }));
    await reserved`commit`;
    reserved.release();
    const trx = await kysely.startTransaction().execute();
    await outbox.emit(fromKysely(trx), OrderPlaced.of({ id: "controlled", note: "" }));
    await trx.commit().execute();
    expect(await eventsOf("reserved")).toHaveLength(1);
    expect(await eventsOf("controlled")).toHaveLength(1);
  });
});
