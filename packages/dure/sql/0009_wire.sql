-- Tombstones, redrives that say so, and parking whose cost does not grow with what is parked (ADR 0018, 0019).

set local search_path to :"schema", pg_temp;

-- True: only a tombstone of this id has come. The event itself, when it is redriven, still counts as new.
alter table inbox_message add column is_tombstone boolean not null default false;

-- On the relay's side: the shard that the event was written to, so that its owner finds its own.
alter table parked_message add column shard smallint;
update parked_message set shard = (message ->> 'shard')::smallint where side = 'relay';

drop index parked_message_key;
create index parked_message_key on parked_message (side, consumer, topic, key, id) where blocks_key;
comment on index parked_message_key is 'park_rows, parked_promote, inbox_receive, dure:outbox.parked-among: what blocks a key, in order';
create index parked_message_relay_due on parked_message (consumer, topic, shard, next_attempt_at)
  where side = 'relay' and state = 'retrying';
comment on index parked_message_relay_due is 'dure:outbox.due: what the relay is to send again now, per topic and shard';
create index parked_message_first on parked_message (side, consumer) include (topic, key)
  where blocks_key and state <> 'held';
comment on index parked_message_first is 'dure:outbox.parked-keys, dure:admin.status: the keys that are parked, each by its first message';
create index parked_message_dead on parked_message (id) where state = 'dead';
comment on index parked_message_dead is 'dure:admin.dead-letters, redrive, discard, status: the oldest dead letters';

-- What serialises parking and its end: on the consumer's side each key, on the relay's side each shard, since its
-- owner parks thousands of keys in one transaction, more than the shared lock table holds.
create function parked_lock_key(
  p_side text, p_consumer text, p_shard smallint, p_topic text, p_key text
) returns bigint
language sql immutable parallel safe as $$
  select hashtextextended(
    'dure.parked:' || p_side || chr(31) || p_consumer || chr(31)
      || case when p_side = 'relay' then coalesce(p_shard, -1)::text else p_topic || chr(31) || p_key end, 0)
$$;

-- What takes the place of an event that was given up: its id and its link, and nothing of its content.
create function parked_tombstone(p_message jsonb) returns jsonb
language sql immutable parallel safe as $$
  select (p_message - 'redriven')
    || '{"type": "dure.tombstone", "version": 1, "data": "null", "tombstone": true}'::jsonb
$$;

-- Parks messages in their order, under locks that the caller holds: each behind the others of its key, or, when it
-- is the first, to be tried again or dead. What the relay gives up while its key goes on leaves a tombstone in its
-- place, to be sent before what follows.
create function park_rows(p_side text, p_requests jsonb) returns void
language sql volatile
set search_path from current
as $$
  insert into parked_message (
    side, consumer, topic, key, message_id, type, message, shard, state, blocks_key, attempts,
    error_code, last_error, first_failed_at, last_failed_at, next_attempt_at
  )
  select
    p_side, p.consumer, p.topic, p.key, p.message_id, p.message ->> 'type', p.message, p.shard,
    case
      when p.is_final then 'dead'
      when p.blocked_by > 0 or blocking.is_there then 'held'
      else 'retrying'
    end,
    p.blocks, case when p.failure is null then 0 else 1 end, p.failure ->> 'code', p.failure ->> 'error',
    case when p.failure is not null then clock_timestamp() end,
    case when p.failure is not null then clock_timestamp() end,
    clock_timestamp() + coalesce((p.failure ->> 'retryInMs')::integer, 0) * interval '1 ms'
  from (
    select x.*, count(*) filter (where x.blocks) over (
      partition by x.consumer, x.topic, x.key order by x.n, x.place
      rows between unbounded preceding and 1 preceding
    ) as blocked_by
    from (
      select e.n, t.place, r.consumer, r.message ->> 'topic' as topic, r.message ->> 'key' as key, r.shard,
        case when t.place = 0 then 'tombstone:' else '' end || (r.message ->> 'id') as message_id,
        case when t.place = 0 then parked_tombstone(r.message) else r.message end as message,
        case when t.place = 1 then r.failure end as failure,
        t.place = 1 and r.is_final as is_final,
        t.place = 0 or not (r.is_final and r.skips) as blocks
      from jsonb_array_elements(p_requests) with ordinality as e (request, n)
      cross join lateral (
        select e.request ->> 'consumer' as consumer, e.request -> 'message' as message,
          nullif(e.request -> 'failure', 'null') as failure, (e.request ->> 'shard')::smallint as shard,
          coalesce((e.request -> 'failure' ->> 'isFinal')::boolean, false) as is_final,
          (e.request ->> 'skips')::boolean as skips
        offset 0
      ) r
      cross join lateral generate_series(
        case when p_side = 'relay' and r.is_final and r.skips then 0 else 1 end, 1
      ) as t (place)
    ) x
  ) p
  -- One look into the index for each; a join would be free to read all that is parked.
  cross join lateral (
    select exists (
      select from parked_message m
      where m.side = p_side and m.consumer = p.consumer and m.topic = p.topic and m.key = p.key and m.blocks_key
      limit 1
    ) as is_there
  ) blocking
  order by p.n, p.place
  on conflict do nothing
$$;

-- Parks messages in their order. The locks are taken in one order, so that two who park for the same keys do not
-- deadlock: the one that empties a key and the one that adds to it never miss each other.
create function park_all(p_side text, p_requests jsonb) returns void
language plpgsql volatile
set search_path from current
as $$
declare
  v_lock bigint;
begin
  for v_lock in
    select distinct parked_lock_key(
      p_side, r ->> 'consumer', (r ->> 'shard')::smallint, r -> 'message' ->> 'topic', r -> 'message' ->> 'key'
    )
    from jsonb_array_elements(p_requests) r order by 1
  loop
    perform pg_advisory_xact_lock(v_lock);
  end loop;
  perform park_rows(p_side, p_requests);
end
$$;

create or replace function park(
  p_side text, p_consumer text, p_message jsonb, p_failure jsonb, p_skips boolean
) returns text
language plpgsql volatile
set search_path from current
as $$
begin
  perform park_all(p_side, jsonb_build_array(jsonb_build_object(
    'consumer', p_consumer, 'message', p_message, 'failure', p_failure, 'skips', p_skips,
    'shard', p_message -> 'shard'
  )));
  return (
    select state from parked_message
    where side = p_side and consumer = p_consumer and message_id = p_message ->> 'id'
  );
end
$$;

-- Turns what blocks a key on the relay's side into its tombstone, which is sent before what waits behind it. Under
-- the lock. False: it has one already.
create function parked_bury(p_row parked_message) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
  v_id text := 'tombstone:' || p_row.message_id;
begin
  if exists (
    select from parked_message
    where side = p_row.side and consumer = p_row.consumer and message_id = v_id
  ) then
    return false;
  end if;
  update parked_message set
    message_id = v_id, message = parked_tombstone(message), type = 'dure.tombstone',
    state = 'retrying', attempts = 0, error_code = null, last_error = null, first_failed_at = null,
    last_failed_at = null, next_attempt_at = clock_timestamp()
  where id = p_row.id;
  return true;
end
$$;

-- A dead letter is given up for good. On the relay's side a tombstone takes its place, unless it was passed over.
create function parked_discard(p_id bigint) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
  v_row parked_message;
begin
  select * into v_row from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  -- It may have been redriven, or discarded, while this waited.
  select * into v_row from parked_message where id = p_id for update;
  if not found or v_row.state <> 'dead' then
    return false;
  end if;
  if v_row.side = 'relay' and v_row.blocks_key and parked_bury(v_row) then
    return true;
  end if;
  delete from parked_message where id = p_id;
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  return true;
end
$$;

create or replace function parked_resolve(p_id bigint) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
  v_row parked_message;
begin
  select * into v_row from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  if v_row.state = 'dead' then
    -- An operator with a version of the library that knows no tombstones.
    return parked_discard(p_id);
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  delete from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  return true;
end
$$;

-- These messages of one key, the first of it and those behind it, got done: they go, and the next of the key comes.
create function parked_resolve_all(p_ids bigint[]) returns void
language plpgsql volatile
set search_path from current
as $$
declare
  v_row parked_message;
begin
  select * into v_row from parked_message where id = p_ids[1];
  if not found then
    return;
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  delete from parked_message where id = any (p_ids);
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
end
$$;

-- A further attempt failed: wait again, or become a dead letter. What its key has passed over once never holds it
-- again. On the relay's side the tombstone keeps the place in the key's order, and the dead letter gets a new row.
create or replace function parked_fail(p_id bigint, p_failure jsonb, p_skips boolean) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_row parked_message;
  v_is_final boolean := (p_failure ->> 'isFinal')::boolean;
begin
  select * into v_row from parked_message where id = p_id;
  if not found then
    return null;
  end if;
  perform pg_advisory_xact_lock(
    parked_lock_key(v_row.side, v_row.consumer, v_row.shard, v_row.topic, v_row.key));
  -- By the id alone: with its state beside it, old statistics make the planner read all that is being retried.
  select * into v_row from parked_message where id = p_id for update;
  if not found or v_row.state <> 'retrying' then
    return null;
  end if;
  v_row.attempts := v_row.attempts + 1;
  v_row.state := case when v_is_final then 'dead' else 'retrying' end;
  v_row.error_code := p_failure ->> 'code';
  v_row.last_error := p_failure ->> 'error';
  v_row.first_failed_at := coalesce(v_row.first_failed_at, clock_timestamp());
  v_row.last_failed_at := clock_timestamp();
  v_row.next_attempt_at :=
    clock_timestamp() + coalesce((p_failure ->> 'retryInMs')::integer, 0) * interval '1 ms';
  if v_is_final and p_skips and v_row.blocks_key then
    v_row.blocks_key := false;
    if v_row.side = 'relay' and parked_bury(v_row) then
      insert into parked_message (
        side, consumer, topic, key, message_id, type, message, shard, state, blocks_key, attempts,
        error_code, last_error, first_failed_at, last_failed_at, next_attempt_at, parked_at
      ) values (
        v_row.side, v_row.consumer, v_row.topic, v_row.key, v_row.message_id, v_row.type, v_row.message,
        v_row.shard, v_row.state, v_row.blocks_key, v_row.attempts, v_row.error_code, v_row.last_error,
        v_row.first_failed_at, v_row.last_failed_at, v_row.next_attempt_at, v_row.parked_at
      );
      return v_row.state;
    end if;
  end if;
  update parked_message set
    attempts = v_row.attempts, state = v_row.state, blocks_key = v_row.blocks_key,
    error_code = v_row.error_code, last_error = v_row.last_error, first_failed_at = v_row.first_failed_at,
    last_failed_at = v_row.last_failed_at, next_attempt_at = v_row.next_attempt_at
  where id = p_id;
  if not v_row.blocks_key then
    perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  end if;
  return v_row.state;
end
$$;

drop function parked_key_lock(text, text, text, text);

-- Records how far the relay's shards are published and what became of parked messages, in one transaction and only
-- for shards that the caller still owns. Returns the shards that it does not.
create function outbox_record(
  p_scope text, p_member uuid, p_source text, p_shards smallint[], p_epochs bigint[],
  p_moved smallint[], p_ns bigint[], p_lows bigint[], p_dones text[],
  p_parked jsonb, p_resolved bigint[], p_failed jsonb
) returns smallint[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_fenced smallint[];
  v_lock bigint;
  v_topics text[];
  v_keys text[];
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
  select a.shard, o.epoch, a.n, a.low, a.done::int8multirange
  from unnest(p_moved, p_ns, p_lows, p_dones) as a (shard, n, low, done)
  join unnest(p_shards, p_epochs) as o (shard, epoch) on o.shard = a.shard
  where a.shard <> all (v_fenced);
  if p_parked is null and p_resolved is null and p_failed is null then
    return v_fenced;
  end if;
  for v_lock in
    select distinct parked_lock_key('relay', p_source, s, null, null) from unnest(p_shards) s
    where s <> all (v_fenced) order by 1
  loop
    perform pg_advisory_xact_lock(v_lock);
  end loop;
  if p_parked is not null then
    perform park_rows('relay', (
      select coalesce(jsonb_agg(p order by n), '[]')
      from jsonb_array_elements(p_parked) with ordinality as e (p, n)
      where (p ->> 'shard')::smallint <> all (v_fenced)
    ));
  end if;
  if p_resolved is not null then
    with gone as (
      delete from parked_message
      where id = any (p_resolved) and side = 'relay' and shard = any (p_shards) and shard <> all (v_fenced)
      returning topic, key, blocks_key
    ), freed as (
      select distinct topic, key from gone where blocks_key
    )
    select array_agg(topic), array_agg(key) into v_topics, v_keys from freed;
    -- In a statement after the delete: within it the heads that went would still be seen.
    update parked_message m set state = 'retrying', next_attempt_at = clock_timestamp()
    where m.state = 'held' and m.id in (
      select (
        select min(h.id) from parked_message h
        where h.side = 'relay' and h.consumer = p_source and h.topic = k.topic and h.key = k.key and h.blocks_key
      )
      from unnest(v_topics, v_keys) as k (topic, key)
    );
  end if;
  if p_failed is not null then
    perform parked_fail((f ->> 'id')::bigint, f -> 'failure', (f ->> 'skips')::boolean)
    from jsonb_array_elements(p_failed) f
    where (f ->> 'shard')::smallint <> all (v_fenced);
  end if;
  return v_fenced;
end
$$;

-- First statement of an inbox transaction: the dedup records (which wait for a rival's transaction to end), then,
-- with a new snapshot, what that rival may have parked, and which of the linked messages are unknown. A tombstone is
-- recorded where nothing of its id has come; the event itself takes over its record and is new. The answer names
-- what is not as usual (seen before, unknown), so that it is short.
create function inbox_receive(
  p_consumer text, p_ids text[], p_topics text[], p_keys text[], p_previous text[], p_tombstones boolean[]
) returns table (seen text[], parked text[], unknown text[], tombstoned text[])
language plpgsql volatile
set search_path from current
as $$
begin
  -- Sorted: two consumers of overlapping batches wait for each other in one order.
  with recorded as (
    insert into inbox_message as i (consumer, message_id, is_tombstone)
    select p_consumer, m.id, bool_and(m.is_tombstone)
    from unnest(p_ids, p_tombstones) as m (id, is_tombstone)
    group by m.id order by m.id
    on conflict (consumer, message_id) do update set is_tombstone = false, received_at = clock_timestamp()
      where i.is_tombstone and not excluded.is_tombstone
    returning i.message_id, i.is_tombstone
  )
  select
    coalesce((select array_agg(i) from unnest(p_ids) i where i not in (select r.message_id from recorded r)), '{}'),
    coalesce((select array_agg(r.message_id) from recorded r where r.is_tombstone), '{}')
  into seen, tombstoned;
  select coalesce(array_agg(k.topic || chr(31) || k.key), '{}') into parked
  from (select distinct topic, key from unnest(p_topics, p_keys) as d (topic, key)) k
  -- One look into the index for each key, however many messages wait behind it.
  cross join lateral (
    select from parked_message m
    where m.side = 'consumer' and m.consumer = p_consumer and m.topic = k.topic and m.key = k.key and m.blocks_key
    limit 1
  ) blocking;
  select coalesce(array_agg(p), '{}') into unknown from unnest(p_previous) p
  where p not in (
    select i.message_id from inbox_message i where i.consumer = p_consumer and i.message_id = any (p_previous)
  );
  return next;
end
$$;
