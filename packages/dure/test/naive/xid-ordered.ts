import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import { type OutboxDesign, pollingRelay } from "./outbox-design.ts";

/**
 * Events in the order of (transaction id, id), up to the oldest transaction that is still open:
 * `pg_snapshot_xmin(pg_current_snapshot())`. Watermill (`schema_adapter_postgresql.go`) and Emmett
 * (`readMessagesBatch.ts`) ship it; a user asked about its order in
 * https://github.com/eugene-khyst/postgresql-event-sourcing/issues/16.
 *
 * It breaks law O2 (a): whoever takes its id first and commits last comes first; and (c): the oldest open
 * transaction is the whole server's.
 */
export async function xidOrderedOutbox(pool: pg.Pool): Promise<OutboxDesign> {
  await pool.query(`create table xid_ordered (
    id bigint generated always as identity, xid xid8 not null default pg_current_xact_id(), key text, n int
  )`);
  let cursor = { xid: "0", id: "0" };
  return {
    table: "xid_ordered",
    async write(client, events) {
      for (const { key, n } of events) {
        await client.query("insert into xid_ordered (key, n) values ($1, $2)", [key, n]);
      }
    },
    ...pollingRelay(async () => {
      const { rows } = await pool.query<Step & { xid: string; id: string }>(
        `select xid::text, id::text, key, n from xid_ordered
         where xid < pg_snapshot_xmin(pg_current_snapshot()) and (xid, id) > ($1::xid8, $2::bigint)
         order by xid_ordered.xid, xid_ordered.id limit 100`,
        [cursor.xid, cursor.id],
      );
      cursor = rows.at(-1) ?? cursor;
      return rows.map(({ key, n }) => ({ key, n }));
    }),
  };
}
