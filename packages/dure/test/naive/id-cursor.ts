import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import { type OutboxDesign, pollingRelay } from "./outbox-design.ts";

/**
 * Events above the highest id that was sent, whatever the sequence says: `where id > $1 order by id`. Seen in
 * https://github.com/kamu-data/kamu-cli/issues/1398 and, found by a review, in
 * https://github.com/thomhurst/Dekaf/pull/2374.
 *
 * It breaks law O2 (b): ids commit out of order, and who commits behind the cursor is never seen; and (g): a
 * sequence that was set back hides every new event, and nothing says so.
 */
export async function idCursorOutbox(pool: pg.Pool): Promise<OutboxDesign> {
  // No primary key: sent rows are removed in such designs, and then nothing else notices an id that comes again.
  await pool.query(
    "create table id_cursor (id bigint generated always as identity, key text, n int)",
  );
  await pool.query("create index on id_cursor (id)");
  let cursor = "0";
  return {
    table: "id_cursor",
    async write(client, events) {
      for (const { key, n } of events) {
        await client.query("insert into id_cursor (key, n) values ($1, $2)", [key, n]);
      }
    },
    ...pollingRelay(async () => {
      const { rows } = await pool.query<Step & { id: string }>(
        "select id::text, key, n from id_cursor where id > $1::bigint order by id_cursor.id limit 100",
        [cursor],
      );
      cursor = rows.at(-1)?.id ?? cursor;
      return rows.map(({ key, n }) => ({ key, n }));
    }),
  };
}
