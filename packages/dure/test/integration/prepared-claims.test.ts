/** Claims are prepared, a known repeat costs one statement, and neither changes what a key promises (laws H1, H4). */
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../../src/http/fetch/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { byTenant, createOrderDatabase, itemsOf, order } from "./keyed-orders.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
let pool: pg.Pool;
let services: TestService[];
/** Answers of the server that end a round trip, on the one connection of the pool. */
let roundTrips = 0;

beforeAll(async () => {
  database = await createOrderDatabase("prepared");
  pool = new pg.Pool({ connectionString: database.url, max: 1 });
  pool.on("connect", (client) => {
    const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
    connection.on("readyForQuery", () => {
      roundTrips += 1;
    });
  });
  services = [];
});
beforeEach(async () => {
  await database.pool.query("truncate orders, dure.idempotency_record");
});
afterAll(async () => {
  for (const service of services) await service.stop();
  await pool.end();
  await database[Symbol.asyncDispose]();
});

function newProcess(): (key: string) => Promise<Response> {
  const service = createTestService({ pool, relay: false });
  services.push(service);
  // Without an event: nobody is woken on the connection whose round trips are counted.
  const post = idempotent(service.dure, byTenant, async ({ tx }) => {
    await tx.query("insert into orders (item) values ($1)", ["tea"]);
    return { status: 201 };
  });
  return (key) => post(order("tea", { "idempotency-key": key }));
}

const prepared = async (): Promise<readonly string[]> => {
  const { rows } = await pool.query<{ statement: string }>(
    `select statement from pg_prepared_statements
     where statement like '%dure:idempotency%' and statement not like '%.look%'`,
  );
  return rows
    .map(({ statement }) => /dure:idempotency\.(\w+)/.exec(statement)?.[1] ?? "")
    .toSorted();
};

async function trips(work: () => Promise<Response>): Promise<readonly [string | null, number]> {
  roundTrips = 0;
  const { headers, status } = await work();
  expect(status).toBe(201);
  return [headers.get("idempotent-replayed"), roundTrips];
}

describe("a repeat", () => {
  it("to the process that has answered is one round trip, to another two", async () => {
    const [here, elsewhere] = [newProcess(), newProcess()];
    await here("k");
    expect(await trips(() => here("k"))).toEqual(["true", 1]);
    expect(await trips(() => elsewhere("k"))).toEqual(["true", 2]);
    expect(await trips(() => elsewhere("k"))).toEqual(["true", 1]);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("of a key whose time is over is carried out, whatever the process remembers", async () => {
    const here = newProcess();
    await here("k");
    await database.pool.query("update dure.idempotency_record set expires_at = now()");
    expect((await here("k")).headers.get("idempotent-replayed")).toBeNull();
    expect(await itemsOf(database.pool)).toEqual(["tea", "tea"]);
  });
});

describe("a connection that does not have its statements any more", () => {
  it("or has them already, costs nothing but the preparing", async () => {
    const here = newProcess();
    await here("a");
    expect(await prepared()).toEqual(["claim", "keep", "savepoint"]);
    await pool.query("deallocate all");
    expect((await here("b")).status).toBe(201);
    expect((await here("c")).status).toBe(201);
    expect(await prepared()).toEqual([]);
    expect((await newProcess()("d")).status).toBe(201);
    expect(await prepared()).toEqual(["claim", "keep", "savepoint"]);
    expect(await itemsOf(database.pool)).toHaveLength(4);
  });

  it("or has them from somebody else, loses no request", async () => {
    await newProcess()("a");
    const { rows } = await pool.query<{ name: string }>(
      "select name from pg_prepared_statements where statement like '%dure:idempotency.claim%'",
    );
    // As a pooler does it that hands the connection to another client of the pool.
    await pool.query("deallocate all");
    await pool.query(`prepare "${rows[0]?.name}" as select 1`);
    const connection = await pool.connect();
    const { parsedStatements } = (
      connection as unknown as { connection: { parsedStatements: Record<string, string> } }
    ).connection;
    for (const name of Object.keys(parsedStatements)) delete parsedStatements[name];
    connection.release();
    const here = newProcess();
    expect([(await here("b")).status, (await here("c")).status]).toEqual([201, 201]);
    expect(await itemsOf(database.pool)).toHaveLength(3);
  });
});
