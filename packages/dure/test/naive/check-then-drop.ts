import type pg from "pg";

/**
 * Looks whether a partition of the outbox holds anything unpublished, and drops it when it does not. The
 * obvious version; our notes know of nobody by name who ships it (`partition_drop` in sql/0004_relay.sql is its cure).
 *
 * It breaks law O2 (f): the look does not see the row of a writer whose transaction is open, DROP waits for him,
 * and what he commits goes with the table.
 */
export async function checkThenDrop(
  pool: pg.Pool,
  partition: string,
): Promise<"dropped" | "needed"> {
  const { rows } = await pool.query<{ needed: boolean }>(
    `select exists (
       select 1 from ${partition} m
       left join lateral (
         select low, done from dure.outbox_cursor where shard = m.shard order by epoch desc, n desc limit 1
       ) c on true
       where not (m.position <= coalesce(c.low, 0) or coalesce(c.done @> m.position, false))
     ) as needed`,
  );
  if (rows[0]?.needed === true) return "needed";
  await pool.query(`drop table ${partition}`);
  return "dropped";
}
