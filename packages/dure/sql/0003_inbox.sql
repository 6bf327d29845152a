-- The inbox: what each consumer has seen, and what it (or the relay) could not get done.

set local search_path to :"schema", pg_temp;

create table inbox_message (
  consumer text not null,
  message_id text not null,
  received_at timestamptz not null default clock_timestamp(),
  primary key (consumer, message_id)
);

create index inbox_message_received on inbox_message (received_at);
comment on index inbox_message_received is 'dure:maintenance.prune-inbox: the records that are old enough to go';

-- Messages that failed, and those of the same key that wait behind them. The first of a key is retrying or
-- dead (a dead letter), the others are held.
create table parked_message (
  id bigint generated always as identity primary key,
  -- relay: could not be published; consumer: could not be handled.
  side text not null check (side in ('relay', 'consumer')),
  -- The consumer group; the source for the relay's side.
  consumer text not null,
  topic text not null,
  key text not null,
  message_id text not null,
  type text not null,
  -- The whole envelope; data is JSON text inside it.
  message jsonb not null,
  state text not null check (state in ('retrying', 'dead', 'held')),
  blocks_key boolean not null default true,
  attempts integer not null default 0,
  error_code text,
  last_error text,
  first_failed_at timestamptz,
  last_failed_at timestamptz,
  next_attempt_at timestamptz,
  parked_at timestamptz not null default clock_timestamp(),
  unique (side, consumer, message_id)
);
create index parked_message_key on parked_message (side, consumer, topic, key, id);
comment on index parked_message_key is 'park, resolve: the messages of one parked key in order';
create index parked_message_due on parked_message (side, consumer, next_attempt_at)
  where state = 'retrying';
comment on index parked_message_due is 'dure:parked.due: what is to be tried again now';

-- Attempts that were begun and have not ended: what stands here after a crash may have caused it.
create table inbox_attempt (
  consumer text not null,
  message_id text not null,
  started integer not null,
  started_at timestamptz not null default clock_timestamp(),
  primary key (consumer, message_id)
);

create table audit_entry (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  action text not null,
  subject text not null,
  reason text
);

create function parked_key_lock(p_side text, p_consumer text, p_topic text, p_key text)
returns void
language sql volatile as $$
  select pg_advisory_xact_lock(
    hashtextextended('dure.parked:' || p_side || chr(31) || p_consumer || chr(31) || p_topic || chr(31) || p_key, 0)
  )
$$;

-- Parks a message: behind the others of its key, or, when it is the first, to be tried again or dead.
-- Under the key's lock: the one that empties a key and the one that adds to it never miss each other.
create function park(
  p_side text, p_consumer text, p_message jsonb, p_failure jsonb, p_skips boolean
) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_state text;
begin
  perform parked_key_lock(p_side, p_consumer, p_message ->> 'topic', p_message ->> 'key');
  if p_failure is null then
    v_state := case when exists (
      select 1 from parked_message m
      where m.side = p_side and m.consumer = p_consumer
        and m.topic = p_message ->> 'topic' and m.key = p_message ->> 'key' and m.blocks_key
    ) then 'held' else 'retrying' end;
  else
    v_state := case when (p_failure ->> 'isFinal')::boolean then 'dead' else 'retrying' end;
  end if;
  insert into parked_message (
    side, consumer, topic, key, message_id, type, message, state, blocks_key, attempts,
    error_code, last_error, first_failed_at, last_failed_at, next_attempt_at
  ) values (
    p_side, p_consumer, p_message ->> 'topic', p_message ->> 'key', p_message ->> 'id',
    p_message ->> 'type', p_message, v_state, not (v_state = 'dead' and p_skips),
    case when p_failure is null then 0 else 1 end, p_failure ->> 'code', p_failure ->> 'error',
    case when p_failure is not null then clock_timestamp() end,
    case when p_failure is not null then clock_timestamp() end,
    clock_timestamp() + coalesce((p_failure ->> 'retryInMs')::integer, 0) * interval '1 ms'
  ) on conflict do nothing;
  return v_state;
end
$$;

-- Makes the next message of a key due, after the one before it went or stopped blocking.
create function parked_promote(p_side text, p_consumer text, p_topic text, p_key text)
returns void
language sql volatile
set search_path from current
as $$
  update parked_message m set state = 'retrying', next_attempt_at = clock_timestamp()
  where m.id = (
    select min(h.id) from parked_message h
    where h.side = p_side and h.consumer = p_consumer and h.topic = p_topic and h.key = p_key
      and h.blocks_key
  ) and m.state = 'held'
$$;

-- The parked message got done (or was discarded): it goes, the next of its key comes.
create function parked_resolve(p_id bigint) returns boolean
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
  perform parked_key_lock(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  delete from parked_message where id = p_id;
  if not found then
    return false;
  end if;
  perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  return true;
end
$$;

-- A further attempt failed: wait again, or become a dead letter.
create function parked_fail(p_id bigint, p_failure jsonb, p_skips boolean) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_row parked_message;
begin
  update parked_message m set
    attempts = m.attempts + 1,
    state = case when (p_failure ->> 'isFinal')::boolean then 'dead' else 'retrying' end,
    blocks_key = not ((p_failure ->> 'isFinal')::boolean and p_skips),
    error_code = p_failure ->> 'code',
    last_error = p_failure ->> 'error',
    first_failed_at = coalesce(m.first_failed_at, clock_timestamp()),
    last_failed_at = clock_timestamp(),
    next_attempt_at = clock_timestamp() + coalesce((p_failure ->> 'retryInMs')::integer, 0) * interval '1 ms'
  where m.id = p_id and m.state = 'retrying'
  returning * into v_row;
  if not found then
    return null;
  end if;
  if not v_row.blocks_key then
    perform parked_key_lock(v_row.side, v_row.consumer, v_row.topic, v_row.key);
    perform parked_promote(v_row.side, v_row.consumer, v_row.topic, v_row.key);
  end if;
  return v_row.state;
end
$$;

-- First statements of an inbox transaction, in this order: the dedup records (which wait for a rival's
-- transaction to end), then, with a new snapshot, what that rival may have parked, and which of the linked
-- messages are known.
create function inbox_receive(
  p_consumer text, p_ids text[], p_topics text[], p_keys text[], p_previous text[]
) returns table (fresh text[], parked text[], known text[])
language plpgsql volatile
set search_path from current
as $$
begin
  -- Sorted: two consumers of overlapping batches wait for each other in one order.
  with inserted as (
    insert into inbox_message (consumer, message_id)
    select p_consumer, i from unnest(p_ids) i order by i
    on conflict do nothing
    returning message_id
  )
  select coalesce(array_agg(message_id), '{}') into fresh from inserted;
  select coalesce(array_agg(distinct m.topic || chr(31) || m.key), '{}') into parked
  from unnest(p_topics, p_keys) as k (topic, key)
  join parked_message m
    on m.side = 'consumer' and m.consumer = p_consumer and m.topic = k.topic and m.key = k.key
    and m.blocks_key;
  select coalesce(array_agg(i.message_id), '{}') into known
  from inbox_message i
  where i.consumer = p_consumer and i.message_id = any (p_previous);
  return next;
end
$$;
