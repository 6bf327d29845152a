-- The write path, made fast: one event by plain arguments, several in one statement; both do per event what
-- 0002 did: the lock of its key, then a position, then the link to the stream's previous event.

set local search_path to :"schema", pg_temp;

-- A stream is (source, topic, key), and so is its hash from here on: the look-up can then ask for the hash
-- alone and take the newest row from the index. With further conditions the planner expects few rows to
-- pass, and reads and sorts all events of the stream.
lock table outbox_message in share row exclusive mode;

create function outbox_stream_hash(p_source text, p_topic text, p_key text) returns bigint
language sql immutable parallel safe as $$
  select hashtextextended(p_source || chr(31) || p_topic || chr(31) || p_key, 0)
$$;

update outbox_message set stream_hash = outbox_stream_hash(source, topic, key);

-- What outbox_setting says, as constants in the writers' plans: read from the table it cost a statement for each
-- event. Whoever changes the setting replaces these too.
do $$
declare
  v_setting outbox_setting;
begin
  select * into strict v_setting from outbox_setting;
  execute format('create function outbox_shard_count() returns integer language sql immutable parallel safe as %L',
    format('select %s', v_setting.shard_count));
  execute format('create function outbox_lock_namespace() returns integer language sql immutable parallel safe as %L',
    format('select %s', v_setting.lock_namespace));
  execute format('create function outbox_sequences() returns regclass[] language sql immutable parallel safe as %L',
    format('select %L::regclass[]', v_setting.position_sequences));
end
$$;

-- Appends one event inside the caller's transaction, and only there. Returns 1, or -1 when it wrote nothing
-- because it cannot tell that there is a transaction.
create function outbox_append_one(
  p_source text, p_id uuid, p_topic text, p_key text, p_type text, p_version smallint, p_data text,
  p_context jsonb, p_is_in_transaction boolean
) returns integer
language plpgsql volatile
set search_path from current
-- Planned once in a session, whatever the statistics say: planning costs more than all the rest.
set plan_cache_mode = force_generic_plan
as $$
declare
  v_key_hash constant bigint := hashtextextended(p_topic || chr(31) || p_key, 0);
  v_stream_hash constant bigint := hashtextextended(p_source || chr(31) || p_topic || chr(31) || p_key, 0);
  v_shard constant smallint := (v_key_hash & 9223372036854775807) % outbox_shard_count();
  v_void text;
begin
  -- A transaction that has written has an id; a statement that is alone in its own has none yet. Without one
  -- nothing tells here, and nothing is written: the caller proves it by a statement that needs a transaction.
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  -- As an assignment: PERFORM would run it as a statement of its own.
  v_void := pg_advisory_xact_lock(outbox_lock_namespace() + v_shard, ((v_key_hash >> 24) & 2147483647)::integer);
  -- A statement after the lock: at READ COMMITTED its snapshot sees whoever held the lock before.
  insert into outbox_message (
    position, written_at, stream_hash, id, previous_id, previous_at, shard, version, link_verified,
    source, topic, key, type, data, context
  )
  select
    nextval((outbox_sequences())[v_shard + 1]), clock_timestamp(), v_stream_hash, p_id,
    case when previous.is_same then previous.id end, case when previous.is_same then previous.written_at end,
    v_shard, p_version,
    -- Elsewhere the snapshot is older than the lock; and behind a stream whose hash collides nothing is known.
    current_setting('transaction_isolation') = 'read committed' and coalesce(previous.is_same, true),
    p_source, p_topic, p_key, p_type, p_data, p_context
  from (values (1)) as one (event)
  left join lateral (
    select m.id, m.written_at, m.source = p_source and m.topic = p_topic and m.key = p_key as is_same
    from outbox_message m
    where m.stream_hash = v_stream_hash
    order by m.position desc limit 1
  ) previous on true;
  return 1;
end
$$;

-- Appends events inside the caller's transaction, and only there. Returns how many, or -1 when it wrote
-- nothing because it cannot tell that there is a transaction.
create or replace function outbox_append(p_source text, p_events jsonb, p_is_in_transaction boolean)
returns integer
language plpgsql volatile
set search_path from current
-- Planned once in a session, whatever the statistics say: planning costs more than all the rest.
set plan_cache_mode = force_generic_plan
as $$
declare
  v_is_read_committed constant boolean := current_setting('transaction_isolation') = 'read committed';
  v_count integer;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  -- Numeric order: two transactions that emit for the same keys take their locks in one order. Text order
  -- would deadlock where the hashes of two keys collide.
  perform pg_advisory_xact_lock(outbox_lock_namespace() + l.shard, l.lock)
  from (
    select distinct
      ((h.hash & 9223372036854775807) % outbox_shard_count())::integer as shard,
      ((h.hash >> 24) & 2147483647)::integer as lock
    from (
      select hashtextextended((e ->> 'topic') || chr(31) || (e ->> 'key'), 0) as hash
      from jsonb_array_elements(p_events) e
    ) h
    order by 1, 2 limit 1001
  ) l;
  get diagnostics v_count = row_count;
  if v_count > 1000 then
    raise exception 'a transaction may emit for at most 1,000 keys, this one has more'
      using errcode = 'DU002', hint = 'Split the work: each lock takes a place in the shared lock table.';
  end if;
  -- Positions in the order of the call; events of one stream link among themselves, its first one by look-up.
  insert into outbox_message (
    position, written_at, stream_hash, id, previous_id, previous_at, shard, version, link_verified,
    source, topic, key, type, data, context
  )
  select
    nextval((outbox_sequences())[(e.key_hash & 9223372036854775807) % outbox_shard_count() + 1]),
    clock_timestamp(), e.stream_hash, e.id,
    case when e.before is not null then e.before when previous.is_same then previous.id end,
    case when e.before is not null then clock_timestamp() when previous.is_same then previous.written_at end,
    (e.key_hash & 9223372036854775807) % outbox_shard_count(), e.version,
    v_is_read_committed and coalesce(previous.is_same, true),
    p_source, e.topic, e.key, e.type, e.data, e.context
  from (
    select r.*,
      hashtextextended(r.topic || chr(31) || r.key, 0) as key_hash,
      hashtextextended(p_source || chr(31) || r.topic || chr(31) || r.key, 0) as stream_hash,
      lag(r.id) over (partition by r.topic, r.key order by r.n) as before
    from rows from (jsonb_to_recordset(p_events) as (
      id uuid, topic text, key text, type text, version smallint, data text, context jsonb
    )) with ordinality as r (id, topic, key, type, version, data, context, n)
    order by r.n
  ) e
  left join lateral (
    select m.id, m.written_at, m.source = p_source and m.topic = e.topic and m.key = e.key as is_same
    from outbox_message m
    where e.before is null and m.stream_hash = e.stream_hash
    order by m.position desc limit 1
  ) previous on true;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
