-- The reads of the hot path as functions: planned once in a session. As plain statements they were planned at
-- every look, over all partitions, which took four fifths of their time.

set local search_path to :"schema", pg_temp;

-- At most p_limit events of each shard: what has appeared in its gaps, and what stands above its head. One
-- statement, one snapshot: what is seen in the gaps and above the head belongs together.
create function outbox_read(
  p_shards smallint[], p_heads bigint[], p_gap_shards smallint[], p_gap_lows bigint[], p_gap_highs bigint[],
  p_limit integer
) returns table (
  shard smallint, "position" bigint, id uuid, previous_id uuid, link_verified boolean, source text, topic text,
  key text, type text, version smallint, data text, context jsonb, written_at timestamptz, previous_at timestamptz
)
language plpgsql stable
set search_path from current
-- By the index, whatever the statistics say of a partition that has just been made; and a large batch in memory.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
  if cardinality(p_gap_shards) = 0 then
    return query
      select m.shard, m.position, m.id, m.previous_id, m.link_verified, m.source, m.topic, m.key,
        m.type, m.version, m.data, m.context, m.written_at, m.previous_at
      from unnest(p_shards, p_heads) as r (shard, head)
      cross join lateral (
        select * from outbox_message o
        where o.shard = r.shard and o.position > r.head
        order by o.position limit p_limit
      ) m;
    return;
  end if;
  return query
    select m.shard, m.position, m.id, m.previous_id, m.link_verified, m.source, m.topic, m.key,
      m.type, m.version, m.data, m.context, m.written_at, m.previous_at
    from unnest(p_shards, p_heads) as r (shard, head)
    cross join lateral (
      select f.* from (
        select g.* from unnest(p_gap_shards, p_gap_lows, p_gap_highs) as gap (shard, low, high)
        cross join lateral (
          select * from outbox_message o
          where o.shard = r.shard and o.position between gap.low and gap.high
          order by o.position limit p_limit
        ) g
        where gap.shard = r.shard
        union all
        (
          select * from outbox_message o
          where o.shard = r.shard and o.position > r.head
          order by o.position limit p_limit
        )
      ) f
      order by f.position limit p_limit
    ) m
    order by m.shard, m.position;
end
$$;

-- At most p_limit messages of each partition, in order, from where the topics' offsets stand.
create function log_read(p_topics text[], p_partitions smallint[], p_positions bigint[], p_limit integer)
returns table (partition smallint, "position" bigint, envelope text, data text)
language plpgsql stable
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
  return query
    select r.partition, m.position, m.envelope, m.data
    from (
      select partition, array_agg(topic) as topics, array_agg(position) as positions
      from unnest(p_topics, p_partitions, p_positions) as c (topic, partition, position)
      group by partition
    ) r
    cross join lateral (
      select f.* from unnest(r.topics, r.positions) as c (topic, position)
      cross join lateral (
        select l.position, l.envelope, l.data from log_message l
        where l.topic = c.topic and l.partition = r.partition and l.position > c.position
        order by l.position limit p_limit
      ) f
      order by f.position limit p_limit
    ) m
    order by r.partition, m.position;
end
$$;

-- How the outbox's shards stand, read at every look.
create function outbox_positions() returns table (last bigint, incarnation bigint, is_paused boolean)
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
begin
  return query
    select coalesce(pg_sequence_last_value(p.sequence), 0), s.incarnation::bigint,
      exists (select from outbox_pause)
    from outbox_setting s, unnest(s.position_sequences) with ordinality as p (sequence, n)
    order by p.n;
end
$$;

-- Appends a batch as log_append does, with two statements fewer where no producer is new, and says which
-- partitions have news.
create function log_publish(
  p_topics text[], p_keys text[], p_envelopes text[], p_datas text[],
  p_sources text[], p_shards smallint[], p_epochs bigint[]
) returns smallint[]
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
  v_count smallint;
  v_partitions smallint[];
  v_stale record;
begin
  select partition_count into strict v_count from log_setting;
  select array_agg(distinct ((hashtextextended(k, 0) & 9223372036854775807) % v_count)::smallint order by
    ((hashtextextended(k, 0) & 9223372036854775807) % v_count)::smallint)
  into v_partitions from unnest(p_keys) k;
  -- In the order of the array, which is one order for all: no two publishers wait for each other in a ring.
  perform pg_advisory_xact_lock(hashtextextended('dure.log:' || current_schema() || p, 0))
  from unnest(v_partitions) p;
  -- After the locks: a producer that was replaced while it waited is seen to be old.
  perform from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
  left join log_producer p on p.source = f.source and p.shard = f.shard
  where p.epoch is distinct from f.epoch;
  if found then
    insert into log_producer as p (source, shard, epoch)
    select f.source, f.shard, f.epoch from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
    where not exists (
      select 1 from log_producer e where e.source = f.source and e.shard = f.shard and e.epoch >= f.epoch
    )
    order by 1, 2
    on conflict (source, shard) do update set epoch = greatest(p.epoch, excluded.epoch);
    select f.source, f.shard, f.epoch, p.epoch as newer into v_stale
    from unnest(p_sources, p_shards, p_epochs) as f (source, shard, epoch)
    join log_producer p on p.source = f.source and p.shard = f.shard and p.epoch > f.epoch
    limit 1;
    if found then
      raise exception 'shard % of % was taken over: epoch % is older than %',
        v_stale.shard, v_stale.source, v_stale.epoch, v_stale.newer using errcode = 'DU003';
    end if;
  end if;
  insert into log_message (position, appended_at, partition, topic, envelope, data)
  select nextval('log_position'), clock_timestamp(), m.partition, m.topic, m.envelope, m.data
  from (
    select ((hashtextextended(t.key, 0) & 9223372036854775807) % v_count)::smallint as partition,
      t.topic, t.envelope, t.data
    from unnest(p_topics, p_keys, p_envelopes, p_datas) with ordinality as t (topic, key, envelope, data, n)
    order by t.n
  ) m;
  return v_partitions;
end
$$;

-- Planned once in a session, and by the index, also when the plan was made while the tables were still small.
alter function inbox_receive(text, text[], text[], text[], text[], boolean[]) set plan_cache_mode = force_generic_plan;
alter function inbox_receive(text, text[], text[], text[], text[], boolean[]) set enable_seqscan = off;
alter function outbox_record(
  text, uuid, text, smallint[], bigint[], smallint[], bigint[], bigint[], text[], jsonb, bigint[], jsonb
) set plan_cache_mode = force_generic_plan;
