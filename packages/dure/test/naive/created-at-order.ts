import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import { type OutboxDesign, pollingRelay } from "./outbox-design.ts";

/**
 * Unsent events in the order of `created_at`. Namastack's outbox ships it, and its maintainer says of overlapping
 * transactions that they need control of the aggregate:
 * https://github.com/namastack/namastack-outbox/issues/195.
 *
 * It breaks law O2 (a): `now()` is when the transaction began, and who began first may commit last.
 */
export async function createdAtOutbox(pool: pg.Pool): Promise<OutboxDesign> {
  await pool.query(`create table created_at_order (
    id uuid default gen_random_uuid(), created_at timestamptz not null default now(), is_sent boolean default false, key text, n int
  )`);
  return {
    table: "created_at_order",
    async write(client, events) {
      for (const { key, n } of events) {
        await client.query("insert into created_at_order (key, n) values ($1, $2)", [key, n]);
      }
    },
    ...pollingRelay(async () => {
      const { rows } = await pool.query<Step & { id: string }>(
        "select id, key, n from created_at_order where not is_sent order by created_at limit 100",
      );
      await pool.query("update created_at_order set is_sent = true where id = any ($1)", [
        rows.map(({ id }) => id),
      ]);
      return rows.map(({ key, n }) => ({ key, n }));
    }),
  };
}
