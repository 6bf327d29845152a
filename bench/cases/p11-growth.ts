import type { Pool } from "pg";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { measurePairs, preparePair } from "../pairs.ts";
import { measureSagaPairs } from "../saga-pairs.ts";
import { sagaEngine } from "../sagas.ts";
import { Measured, text } from "../service.ts";

/** Events that one loading statement writes. */
const chunk = 50_000;
/** Over how many days they are spread: as many partitions, just not old enough to be dropped. */
const days = 6;

/** P11: what it costs that many finished events stand in the tables. */
export const measureGrowth: BenchCase = async (context) => {
  const { options, server, progress } = context;
  await using plain = await openDatabase(server, "not_grown");
  await using burdened = await openDatabase(server, "grown");
  const pair = { plain, burdened };
  await preparePair(pair);
  await grow(context, burdened.pool);
  await sagaEngine.growFinished(burdened.pool, options.grownSagas, (loaded) => {
    progress(`P11 has loaded ${loaded.toLocaleString("en-US")} finished sagas`);
  });
  progress("P11 vacuums what was loaded");
  await settle(burdened.pool);
  const [events, sagas] = [options.grownEvents, options.grownSagas].map((count) =>
    count.toLocaleString("en-US"),
  );
  const burden = `${events} finished events, ${sagas} finished sagas`;
  const names = { caseName: "P11", burden, above: 0.9 };
  return [
    ...(await measurePairs(context, pair, names)),
    ...(await measureSagaPairs(context, pair, names)),
  ];
};

/**
 * Finished events of the past days and of the keys that the cases write to, as if they had been written,
 * published and consumed: through the tables, for through the front door it would take an hour.
 */
async function grow({ options, progress }: BenchContext, pool: Pool): Promise<void> {
  const total = options.grownEvents;
  await pool.query(
    `select dure.partition_create('outbox_message', (now() at time zone 'UTC')::date - d)
     from generate_series(1, $1::integer) d`,
    [days],
  );
  for (let from = 0; from < total; from += chunk) {
    const to = Math.min(total, from + chunk);
    await pool.query(insertFinished, [
      from,
      to - 1,
      total,
      days,
      Measured.topic,
      Measured.type,
      text,
    ]);
    await pool.query(
      `insert into dure.inbox_message (consumer, message_id)
       select 'bench', gen_random_uuid()::text from generate_series($1::integer, $2::integer)`,
      [from, to - 1],
    );
    if ((to / chunk) % 10 === 0 || to === total) {
      progress(`P11 has loaded ${to.toLocaleString("en-US")} finished events`);
    }
  }
  // Older than what any relay will write: the first one goes on from here.
  await pool.query(`
    insert into dure.outbox_cursor (shard, epoch, n, low, done)
    select p.n - 1, 0, 0, coalesce(pg_sequence_last_value(p.sequence), 0), '{}'
    from dure.outbox_setting s, unnest(s.position_sequences) with ordinality as p (sequence, n)`);
}

const insertFinished = `
  insert into dure.outbox_message (
    position, written_at, stream_hash, id, shard, version, link_verified, source, topic, key, type, data
  )
  select nextval(s.position_sequences[h.shard + 1]),
    now() - (1 - h.n / $3::float8) * $4::integer * interval '1 day',
    h.hash, gen_random_uuid(), h.shard, 1, true, 'bench', $5::text, h.key, $6::text,
    json_build_object('id', h.key, 'n', h.n, 'text', $7::text)::text
  from dure.outbox_setting s
  cross join lateral (
    select k.n, k.key, k.hash, (k.hash & 9223372036854775807) % s.shard_count as shard
    from (
      select n, 'k' || (n % 10000) as key,
        hashtextextended($5::text || chr(31) || 'k' || (n % 10000), 0) as hash
      from generate_series($1::integer, $2::integer) n
    ) k
  ) h
  order by h.n`;
