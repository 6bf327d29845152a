-- The relay's side of the outbox: its fenced cursor writes, and what people may look at.

set local search_path to :"schema", pg_temp;

-- Records how far the relay's shards are published, and parks what was refused, in one transaction and only
-- for shards that the caller still owns. Returns the shards that it does not.
create function outbox_advance(
  p_scope text, p_member uuid, p_shards smallint[], p_epochs bigint[], p_ns bigint[], p_lows bigint[],
  p_dones text[], p_parked jsonb, p_resolved bigint[]
) returns smallint[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_fenced smallint[];
begin
  -- Shared: a take-over waits until this commits, and then reads what this wrote.
  perform pg_advisory_xact_lock_shared(claim_lock_key(p_scope));
  select coalesce(array_agg(a.shard), '{}') into v_fenced
  from unnest(p_shards, p_epochs) as a (shard, epoch)
  where not exists (
    select 1 from claim c
    where c.scope = p_scope and c.slot = a.shard and c.epoch = a.epoch and c.member_id = p_member
  );
  insert into outbox_cursor (shard, epoch, n, low, done)
  select a.shard, a.epoch, a.n, a.low, a.done::int8multirange
  from unnest(p_shards, p_epochs, p_ns, p_lows, p_dones) as a (shard, epoch, n, low, done)
  where a.shard <> all (v_fenced);
  if p_parked is not null then
    perform park('relay', p ->> 'consumer', p -> 'message', p -> 'failure', (p ->> 'skips')::boolean)
    from (select p from jsonb_array_elements(p_parked) with ordinality as e (p, n) order by n) ordered
    where (p ->> 'shard')::smallint <> all (v_fenced);
  end if;
  perform parked_resolve(r) from unnest(p_resolved) r;
  return v_fenced;
end
$$;

-- After a shard's sequence was set back (a partial restore, setval): raises it above everything that is there,
-- and moves the events that were written meanwhile, whose positions lie among published ones and hide them, to
-- new ones in the same order. Returns how many it moved. Waits for open writers, and holds new ones up.
create function outbox_rebase(p_shard smallint) returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_sequence regclass;
  v_cursor outbox_cursor;
  v_head bigint;
  v_base bigint;
  v_count bigint;
begin
  -- No relay can record progress, and no writer can write, until this is over.
  perform pg_advisory_xact_lock(claim_lock_key('outbox'));
  lock table outbox_message in share row exclusive mode;
  select position_sequences[p_shard + 1] into strict v_sequence from outbox_setting;
  select * into v_cursor from outbox_cursor where shard = p_shard order by epoch desc, n desc limit 1;
  v_head := greatest(coalesce(v_cursor.low, 0), coalesce(upper(range_merge(v_cursor.done)) - 1, 0));
  select greatest(v_head, coalesce(max(position), 0), coalesce(pg_sequence_last_value(v_sequence), 0))
    into v_base from outbox_message where shard = p_shard;
  -- The last cursor row was written after everything that it calls done: what is younger is not published.
  update outbox_message m set position = v_base + h.n
  from (
    select tableoid as part, ctid as place, row_number() over (order by position, written_at) as n
    from outbox_message
    where shard = p_shard and position <= v_head and written_at > v_cursor.written_at
  ) h
  where m.tableoid = h.part and m.ctid = h.place;
  get diagnostics v_count = row_count;
  perform setval(v_sequence, greatest(1, v_base + v_count));
  return v_count;
end
$$;

-- For people and SQL: where each event is. PENDING (not published), PUBLISHED, PARKED (waits behind a
-- failed one or is tried again), DEAD (a dead letter).
create view outbox_status as
select
  m.id, m.topic, m.key, m.type, m.version, m.written_at, m.shard, m.position,
  case
    when p.state = 'dead' then 'DEAD'
    when p.id is not null then 'PARKED'
    when m.position <= coalesce(c.low, 0) or c.done @> m.position then 'PUBLISHED'
    else 'PENDING'
  end as state,
  coalesce(p.attempts, 0) as attempts,
  p.last_error
from outbox_message m
-- Read once, not once per event.
left join (
  select distinct on (shard) shard, low, done from outbox_cursor order by shard, epoch desc, n desc
) c on c.shard = m.shard
left join parked_message p
  on p.side = 'relay' and p.consumer = m.source and p.message_id = m.id::text;

-- Makes one day's partition of a partitioned table; false when the default partition already holds rows of
-- that day, which then stay where they are.
create function partition_create(p_table text, p_day date) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  if to_regclass(format('%I.%I', current_schema(), p_table || to_char(p_day, '_YYYYMMDD'))) is not null then
    return true;
  end if;
  set local lock_timeout = '50ms';
  execute format(
    'create table %I.%I partition of %I.%I for values from (%L) to (%L)',
    current_schema(), p_table || to_char(p_day, '_YYYYMMDD'), current_schema(), p_table,
    p_day::timestamp at time zone 'UTC', (p_day + 1)::timestamp at time zone 'UTC'
  );
  return true;
exception
  when check_violation or duplicate_table or lock_not_available then
    return false;
end
$$;

-- Drops one day's partition if its moment has come. Parent and child are locked first and looked at in a
-- statement after: a check before the lock dropped a row that a waiting writer had just committed.
create function partition_drop(p_table text, p_partition text, p_blocked_by text) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
  v_is_needed boolean;
begin
  set local lock_timeout = '50ms';
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_table);
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_partition);
  execute format(p_blocked_by, current_schema(), p_partition) into v_is_needed;
  if v_is_needed then
    return false;
  end if;
  execute format('drop table %I.%I', current_schema(), p_partition);
  return true;
exception
  when lock_not_available then
    return false;
end
$$;

-- From the first event on, not only from the first maintenance: what goes into the default partition stays there.
select partition_create('outbox_message', (now() at time zone 'UTC')::date + d) from generate_series(0, 3) d;
