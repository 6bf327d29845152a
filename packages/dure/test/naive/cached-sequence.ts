import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";
import { type OutboxDesign, pollingRelay } from "./outbox-design.ts";

/**
 * Dure's own lock of the key, with positions from a sequence that each session caches in blocks of 20, which is
 * the usual advice for a busy sequence. The obvious tuning (ADR 0008 rejects it: a key came out as 21, 2); our notes
 * know of nobody by name who ships it.
 *
 * It breaks law O2: who comes second under the key's lock may have the smaller position.
 */
export async function cachedSequenceOutbox(pool: pg.Pool): Promise<OutboxDesign> {
  await pool.query(`create table cached_sequence (
    id bigint generated always as identity (cache 20), is_sent boolean default false, key text, n int
  )`);
  return {
    table: "cached_sequence",
    async write(client, events) {
      for (const { key, n } of events) {
        await client.query("select pg_advisory_xact_lock(2, hashtext($1))", [key]);
        await client.query("insert into cached_sequence (key, n) values ($1, $2)", [key, n]);
      }
    },
    ...pollingRelay(async () => {
      const { rows } = await pool.query<Step & { id: string }>(
        "select id, key, n from cached_sequence where not is_sent order by id limit 100",
      );
      await pool.query("update cached_sequence set is_sent = true where id = any ($1)", [
        rows.map(({ id }) => id),
      ]);
      return rows.map(({ key, n }) => ({ key, n }));
    }),
  };
}
