import type { Dure } from "dure";
import type { Pool, PoolClient } from "pg";
import { Measured, randomData, text } from "./service.ts";

/** Makes the tables of the business and of the plain outbox: two indexes, no key that anyone waits for. */
export async function createBusinessTables(pool: Pool): Promise<void> {
  await pool.query(`
    create table business (id bigint generated always as identity primary key, data text);
    create table plain_outbox (
      id bigint generated always as identity primary key,
      topic text, key text, data text, at timestamptz default now()
    );
    create index on plain_outbox (at)`);
}

const insertBusiness = "insert into business (data) values ($1)";

/** A business transaction as anyone writes it with `pg`: every statement awaited. */
export function ownTransaction(
  pool: Pool,
  extra?: (client: PoolClient) => Promise<unknown>,
): () => Promise<void> {
  return async () => {
    const client = await pool.connect();
    try {
      await client.query("begin");
      await client.query(insertBusiness, [text]);
      await extra?.(client);
      await client.query("commit");
    } finally {
      client.release();
    }
  };
}

/** The same transaction run by the library, with one event for each number. */
export function dureTransaction(
  dure: Dure<PoolClient>,
  numbers: readonly number[] = [0],
): () => Promise<void> {
  return () =>
    dure.transaction(async (tx) => {
      await tx.query(insertBusiness, [text]);
      for (const n of numbers) tx.emit(Measured, randomData(n));
    });
}

/** The statement of whoever writes an outbox of two indexes by hand. */
export async function insertPlain(client: PoolClient): Promise<void> {
  const data = randomData();
  const insert = "insert into plain_outbox (topic, key, data) values ($1, $2, $3)";
  await client.query(insert, ["bench", data.id, JSON.stringify(data)]);
}
