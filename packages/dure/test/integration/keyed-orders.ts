import type { Dure } from "../../src/index.ts";
import type { IdempotencyOptions } from "../../src/idempotency/index.ts";
import { idempotent } from "../../src/http/fetch/index.ts";
import type { FetchInput } from "../../src/http/fetch/index.ts";
import type { KeyedTransaction } from "../../src/index.ts";
import type pg from "pg";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { stepTaken } from "./service-fixture.ts";

/** A database with the table of the business. */
export async function createOrderDatabase(name: string, poolSizeMax = 20): Promise<TestDatabase> {
  const database = await createTestDatabase({ name, poolSizeMax });
  await database.pool.query(
    "create table orders (id bigint generated always as identity primary key, item text not null)",
  );
  return database;
}

export type OrderInput = FetchInput<KeyedTransaction<pg.PoolClient>>;

export const byTenant = {
  principal: (request: Request): string => request.headers.get("tenant") ?? "anyone",
};

/** `POST /orders`: writes a row and an event, and answers with the row's id. */
export function orderRoute(
  dure: Dure<pg.PoolClient>,
  options: Partial<IdempotencyOptions<Request>> = {},
  before: (input: OrderInput) => Promise<void> = () => Promise.resolve(),
): (request: Request) => Promise<Response> {
  return idempotent(dure, { ...byTenant, ...options }, async (input) => {
    const { request, tx } = input;
    const { item } = (await request.json()) as { item: string };
    await before(input);
    const { rows } = await tx.query("insert into orders (item) values ($1) returning id", [item]);
    const id = String(rows[0]?.["id"]);
    tx.emit(stepTaken, { key: item, n: Number(id) });
    return {
      status: 201,
      headers: { location: `/orders/${id}`, "x-fresh": "1" },
      body: { id, item },
    };
  });
}

/** A request as a client sends it. */
export function order(
  item: string,
  headers: Readonly<Record<string, string>> = {},
  path = "/orders",
): Request {
  return new Request(`http://shop.test${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ item }),
  });
}

export async function itemsOf(pool: pg.Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ item: string }>("select item from orders order by id");
  return rows.map(({ item }) => item);
}

export async function countOf(pool: pg.Pool, from: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `select count(*)::int as count from ${from}`,
  );
  return rows[0]?.count ?? -1;
}
