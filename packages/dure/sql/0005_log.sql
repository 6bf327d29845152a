-- The event log: a transport inside PostgreSQL, with topics, partitions and consumer groups. It may live in
-- a database of its own.

set local search_path to :"schema", pg_temp;

create table log_setting (
  singleton boolean primary key default true check (singleton),
  partition_count smallint not null default 8 check (partition_count between 1 and 256)
);
insert into log_setting default values;

create sequence log_position cache 1 no cycle;

create table log_message (
  position bigint not null,
  appended_at timestamptz not null,
  partition smallint not null,
  topic text not null,
  -- The envelope without data; data is JSON text, byte for byte.
  envelope text not null,
  data text not null
) partition by range (appended_at);
create table log_message_rest partition of log_message default;
create index log_message_position on log_message (topic, partition, position);
comment on index log_message_position is 'dure:log.read: messages of a topic and partition from a position on';

-- The newest epoch of each producer's shard: an older one is refused.
create table log_producer (
  source text not null,
  shard smallint not null,
  epoch bigint not null,
  primary key (source, shard)
);

-- Offsets are appended and the highest counts; they only grow.
create table log_offset (
  consumer text not null,
  topic text not null,
  partition smallint not null,
  position bigint not null,
  written_at timestamptz not null default clock_timestamp(),
  primary key (consumer, topic, partition, position)
);

-- Appends a batch. Writers of one partition come one after the other until they have committed, so for a
-- reader of the partition the order of positions is the order of commits: a plain cursor loses nothing.
create function log_append(
  p_topics text[], p_keys text[], p_envelopes text[], p_datas text[],
  p_sources text[], p_shards smallint[], p_epochs bigint[]
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
  v_partitions smallint;
  v_partition smallint;
  v_stale record;
begin
  select partition_count into strict v_partitions from log_setting;
  for v_partition in
    select distinct ((hashtextextended(k, 0) & 9223372036854775807) % v_partitions)::smallint
    from unnest(p_keys) k order by 1
  loop
    perform pg_advisory_xact_lock(hashtextextended('dure.log:' || current_schema() || v_partition, 0));
  end loop;
  -- After the locks: a producer that was replaced while it waited is seen to be old.
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
  insert into log_message (position, appended_at, partition, topic, envelope, data)
  select nextval('log_position'), clock_timestamp(), m.partition, m.topic, m.envelope, m.data
  from (
    select ((hashtextextended(t.key, 0) & 9223372036854775807) % v_partitions)::smallint as partition,
      t.topic, t.envelope, t.data
    from unnest(p_topics, p_keys, p_envelopes, p_datas) with ordinality as t (topic, key, envelope, data, n)
    order by t.n
  ) m;
end
$$;

select partition_create('log_message', (now() at time zone 'UTC')::date + d) from generate_series(0, 3) d;
