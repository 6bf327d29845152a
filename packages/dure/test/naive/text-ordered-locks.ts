import type pg from "pg";
import type { Step } from "../integration/service-fixture.ts";

/**
 * Takes the locks of the keys in the order of the keys' text, which looks safe from deadlocks and is, until the
 * hashes of two keys collide: then two transactions can take two locks in two orders. The obvious version (ADR
 * 0008 rejects it); our notes know of nobody by name who ships it, but control of overlapping writers is left to
 * the user, as in https://github.com/namastack/namastack-outbox/issues/195.
 *
 * It breaks law O2 (e). The hash is Dure's, so that the same keys collide.
 */
export async function writeInTextOrder(
  client: pg.PoolClient,
  events: readonly Step[],
): Promise<void> {
  const keys = [...new Set(events.map(({ key }) => key))].toSorted();
  for (const key of keys) {
    await client.query(
      `select pg_advisory_xact_lock(s.lock_namespace + ((k.hash & 9223372036854775807) % s.shard_count)::integer, ((k.hash >> 24) & 2147483647)::integer)
       from dure.outbox_setting s, hashtextextended('step' || chr(31) || $1, 0) as k (hash)`,
      [key],
    );
  }
}
