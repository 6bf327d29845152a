/** An event written through any client's transaction commits with the business row of that transaction, or not at all. */
import { drizzle as drizzleOnPg } from "drizzle-orm/node-postgres";
import { drizzle as drizzleOnPostgresJs } from "drizzle-orm/postgres-js";
import { sql as drizzleSql } from "drizzle-orm";
import { CamelCasePlugin, Kysely, PostgresDialect, sql as kyselySql } from "kysely";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TransactionHandle } from "../../src/index.ts";
import { fromDrizzle, fromKysely, fromPg, fromPostgresJs } from "../../src/transaction/index.ts";
import { createTestDatabase } from "../support/test-database.ts";
import type { TestDatabase } from "../support/test-database.ts";
import {
  conforms,
  createBusinessTable,
  createHandleService,
  eventsOf,
  OrderPlaced,
  type Way,
} from "./adapter-conformance.ts";

let database: TestDatabase;
let root: postgres.Sql;
let kysely: Kysely<object>;

beforeAll(async () => {
  database = await createTestDatabase({ name: "adapters" });
  await createBusinessTable(database);
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

/** One transaction as a user of that client runs it. */
const ways: Readonly<Record<string, Way>> = {
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

const dure = createHandleService();

describe.each(Object.entries(ways))("through %s", (name, way) => {
  conforms(name, () => database, way);
});

describe("what is no transaction is refused, and nothing is written", () => {
  const refused = { code: "CONFIGURATION_INVALID" };
  const emit = (tx: TransactionHandle): Promise<unknown> =>
    dure.outbox.emit(tx, OrderPlaced.of({ id: "refused", note: "never" }));

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
    expect(await eventsOf(database, "refused")).toEqual([]);
  });

  it("but a reserved connection of postgres.js after BEGIN, and a controlled transaction of Kysely, are transactions", async () => {
    const reserved = await root.reserve();
    await reserved`begin`;
    await dure.outbox.emit(fromPostgresJs(reserved), OrderPlaced.of({ id: "reserved", note: "" }));
    await reserved`commit`;
    reserved.release();
    const trx = await kysely.startTransaction().execute();
    await dure.outbox.emit(fromKysely(trx), OrderPlaced.of({ id: "controlled", note: "" }));
    await trx.commit().execute();
    expect(await eventsOf(database, "reserved")).toHaveLength(1);
    expect(await eventsOf(database, "controlled")).toHaveLength(1);
  });
});
