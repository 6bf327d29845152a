-- The transactional outbox: events in the writer's own transaction, read back in order per key.

set local search_path to :"schema", pg_temp;

create table outbox_setting (
  singleton boolean primary key default true check (singleton),
  shard_count smallint not null check (shard_count between 1 and 64),
  -- First half of the two-part advisory locks of writers: namespace + shard. The schema's own.
  lock_namespace integer not null,
  -- One sequence per shard, so that a shard's positions have few gaps.
  position_sequences regclass[] not null
);

create table outbox_message (
  position bigint not null,
  written_at timestamptz not null,
  stream_hash bigint not null,
  id uuid not null,
  previous_id uuid,
  previous_at timestamptz,
  shard smallint not null,
  version smallint not null,
  link_verified boolean not null,
  source text not null,
  topic text not null,
  key text not null,
  type text not null,
  -- JSON text, byte for byte as the writer gave it: nothing on the way needs to read it.
  data text not null,
  context jsonb
) partition by range (written_at);

-- Catches what no day's partition takes, so that a stopped maintenance can never fail a business write.
create table outbox_message_rest partition of outbox_message default;

create index outbox_message_position on outbox_message (shard, position);
comment on index outbox_message_position is 'dure:outbox.read: events of a shard from a position on';
create index outbox_message_stream on outbox_message (stream_hash, position desc);
comment on index outbox_message_stream is 'outbox_append: the previous event of a stream';

-- How far each shard is published: everything up to low, and the ranges of done above it. Rows are
-- appended and the newest counts: one updated row slows down under a held xmin horizon.
create table outbox_cursor (
  shard smallint not null,
  epoch bigint not null,
  n bigint not null,
  low bigint not null,
  done int8multirange not null,
  written_at timestamptz not null default clock_timestamp(),
  primary key (shard, epoch, n)
);

do $$
declare
  v_shards constant smallint := 8;
  v_sequences regclass[] := '{}';
begin
  for s in 0 .. v_shards - 1 loop
    -- CACHE 1: a cached block would hand out positions against the order of the key's lock.
    execute format('create sequence %I.%I cache 1 no cycle', current_schema(), 'outbox_position_' || s);
    v_sequences := v_sequences || format('%I.%I', current_schema(), 'outbox_position_' || s)::regclass;
  end loop;
  insert into outbox_setting (shard_count, lock_namespace, position_sequences)
  values (v_shards, ('x' || substr(md5('dure.outbox:' || current_schema()), 1, 8))::bit(32)::integer & 2147483392, v_sequences);
end
$$;

-- Appends events to the outbox inside the caller's transaction, and only there. Returns how many, or -1 when
-- it wrote nothing because it cannot tell that there is a transaction.
-- Per event: the lock of its key, then a position, then the link to the stream's previous event: while the
-- lock is held until COMMIT, the order of positions is the order of commits for the key.
create function outbox_append(p_source text, p_events jsonb, p_is_in_transaction boolean)
returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_setting outbox_setting;
  v_event record;
  v_lock record;
  v_previous record;
  v_verified boolean;
  v_count integer := 0;
begin
  -- A transaction that has written has an id; a statement that is alone in its own has none yet. Without one
  -- nothing tells here, and nothing is written: the caller proves it by a statement that needs a transaction.
  -- (The two timestamps do not tell: in the extended protocol they differ for a lone statement too.)
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  select * into strict v_setting from outbox_setting;
  -- Numeric order: two transactions that emit for the same keys take their locks in one order. Text order
  -- would deadlock where the hashes of two keys collide.
  for v_lock in
    select distinct
      (hash & 9223372036854775807) % v_setting.shard_count as shard,
      ((hash >> 24) & 2147483647)::integer as lock
    from (
      select hashtextextended((e ->> 'topic') || chr(31) || (e ->> 'key'), 0) as hash
      from jsonb_array_elements(p_events) e
    ) hashes
    order by 1, 2
  loop
    v_count := v_count + 1;
    if v_count > 1000 then
      raise exception 'a transaction may emit for at most 1,000 keys, this one has more'
        using errcode = 'DU002', hint = 'Split the work: each lock takes a place in the shared lock table.';
    end if;
    perform pg_advisory_xact_lock(v_setting.lock_namespace + v_lock.shard::integer, v_lock.lock);
  end loop;
  -- Elsewhere the snapshot is older than the lock and the look-up is blind.
  v_verified := current_setting('transaction_isolation') = 'read committed';
  v_count := 0;
  for v_event in
    select
      hashtextextended(e.topic || chr(31) || e.key, 0) as hash, e.id, e.topic, e.key, e.type, e.version, e.data, e.context
    from jsonb_to_recordset(p_events) as e (
      id uuid, topic text, key text, type text, version smallint, data text, context jsonb
    )
  loop
    select m.id, m.written_at into v_previous
    from outbox_message m
    where m.stream_hash = v_event.hash and m.topic = v_event.topic and m.key = v_event.key
      and m.source = p_source
    order by m.position desc limit 1;
    insert into outbox_message (
      position, written_at, stream_hash, id, previous_id, previous_at, shard, version, link_verified,
      source, topic, key, type, data, context
    ) values (
      nextval(v_setting.position_sequences[(v_event.hash & 9223372036854775807) % v_setting.shard_count + 1]),
      clock_timestamp(), v_event.hash, v_event.id, v_previous.id, v_previous.written_at,
      (v_event.hash & 9223372036854775807) % v_setting.shard_count, v_event.version, v_verified,
      p_source, v_event.topic, v_event.key, v_event.type, v_event.data, v_event.context
    );
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
