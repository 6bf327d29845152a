-- Sagas: what was started, the journal of each, who drives it, and what waits. See docs/adr/0020-saga-journal.md.

set local search_path to :"schema", pg_temp;

-- Incarnations of processes that drive sagas. The number is the fence: drawn once, never used again.
create table saga_process (
  process integer primary key generated always as identity,
  lease_until timestamptz not null,
  joined_at timestamptz not null default clock_timestamp(),
  -- Set: its writes are refused from here on, and its sagas are to be freed for others.
  fenced_at timestamptz
);

create table saga_instance (
  saga_id text primary key,
  definition text not null,
  version smallint not null,
  -- What it is about, to be found by.
  business_key text,
  input json not null,
  status text not null default 'RUNNING' check (status in (
    'RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'FAILED', 'COMPENSATION_FAILED'
  )),
  -- The W3C trace of whoever started it.
  traceparent text,
  -- Who wrote it, so that a start in doubt is known again.
  process integer,
  batch bigint,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
-- Room for the one update that each row gets, on its own page and without touching an index.
) with (fillfactor = 60);

create index saga_instance_business_key on saga_instance (business_key) where business_key is not null;
comment on index saga_instance_business_key is 'dure:saga.list: the sagas of an order';
create index saga_instance_ended on saga_instance using brin (started_at);
comment on index saga_instance_ended is 'saga_retire: what ended long ago; the table is in order of starts';

-- Sagas that have not ended. A saga belongs to a process, or waits for a time or a signal, or is parked.
create table saga_live (
  saga_id text primary key,
  definition text not null,
  version smallint not null,
  process integer,
  -- When it is to go on; null while a process drives it, and where only a signal can move it.
  wake_at timestamptz,
  deadline_at timestamptz
);

create index saga_live_due on saga_live (definition, version, wake_at) where process is null and wake_at is not null;
comment on index saga_live_due is 'saga_claim: what is due, per definition';

create table saga_journal (
  saga_id text not null,
  n integer not null,
  process integer not null,
  batch bigint not null,
  recorded_at timestamptz not null default clock_timestamp(),
  events json not null,
  primary key (saga_id, n)
);

-- What others want of a saga: answers to its commands, operators, cancellation. Its owner takes them in order.
create table saga_signal (
  signal_id bigint primary key generated always as identity,
  saga_id text not null,
  -- Given twice it is one.
  dedup_key text not null,
  body json not null,
  sent_at timestamptz not null default clock_timestamp(),
  unique (saga_id, dedup_key)
);
comment on index saga_signal_saga_id_dedup_key_key is 'saga_signal_send, dure:saga.read-signals: the signals of one saga';

create function saga_lock_namespace() returns integer
language sql immutable parallel safe as $$ select 1685418593 $$;

create function saga_join(p_lease_ms integer) returns integer
language sql volatile
set search_path from current
as $$
  insert into saga_process (lease_until)
  values (clock_timestamp() + p_lease_ms * interval '1 ms') returning process
$$;

-- Renews the lease. False: it was fenced.
create function saga_beat(p_process integer, p_lease_ms integer) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  update saga_process set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
  where process = p_process and fenced_at is null;
  return found;
end
$$;

-- Fences one process: when this has committed, nothing that it writes is taken any more, and all that it
-- wrote can be read. Without p_is_leaving only if its lease has run out.
create function saga_fence(p_process integer, p_is_leaving boolean) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  -- Exclusive: whoever checked the fence under the shared lock has committed before this goes on. Not waited for
  -- where it is another's: a frozen one may hold it for long, and the lease of whoever waits runs out meanwhile.
  if p_is_leaving then
    perform pg_advisory_xact_lock(saga_lock_namespace(), p_process);
  elsif not pg_try_advisory_xact_lock(saga_lock_namespace(), p_process) then
    return false;
  end if;
  update saga_process set fenced_at = clock_timestamp()
  where process = p_process and fenced_at is null
    and (p_is_leaving or lease_until <= clock_timestamp());
  return found;
end
$$;

-- Frees the sagas of a process that was fenced, in a transaction that begins after that was committed.
create function saga_free(p_process integer) returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_count integer;
begin
  perform from saga_process where process = p_process and fenced_at is not null for update skip locked;
  if not found then
    return 0;
  end if;
  update saga_live set process = null, wake_at = clock_timestamp() where process = p_process;
  get diagnostics v_count = row_count;
  delete from saga_process where process = p_process;
  return v_count;
end
$$;

-- Writes journal entries of many sagas at once, with what becomes of each saga thereby, for a process that is
-- not fenced. Lists are texts that U+001E separates, for JSON holds no control characters. Returns the sagas
-- whose entry was not taken: another process has written that entry, or the id was started before.
-- Called again with the same batch it does nothing that was done, and answers the same.
create function saga_record(
  p_process integer, p_batch bigint,
  -- Sagas that start with this batch, as JSON objects.
  p_starts text,
  p_ids text, p_ns integer[], p_events text,
  -- Entries that change more than the journal. Status '' leaves it; then: end, keep or free the saga,
  -- and for one that is freed after how many milliseconds it goes on (-1: only when a signal comes).
  p_moved text, p_statuses text, p_lives text, p_wakes bigint[],
  p_signals bigint[]
) returns text[]
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_separator constant text := chr(30);
  v_ids text[] := string_to_array(p_ids, v_separator);
  v_count integer;
  v_new text[];
  v_refused text[];
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  -- A statement of its own, with a snapshot from after the lock.
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  if p_starts is not null then
    v_refused := saga_insert(p_process, p_batch, p_starts);
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  select e.id, e.n, p_process, p_batch, e.events::json
  from unnest(v_ids, p_ns, string_to_array(p_events, v_separator)) as e (id, n, events)
  where v_refused is null or e.id <> all (v_refused)
  on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count < cardinality(v_ids) then
    -- Rare: in doubt before, or another has the saga.
    select array_agg(e.id) filter (where j.saga_id is null) into v_refused
    from unnest(v_ids, p_ns) as e (id, n)
    left join saga_journal j
      on j.saga_id = e.id and j.n = e.n and j.process = p_process and j.batch = p_batch;
  end if;
  -- A batch commits as a whole. Where none of it is new it was done before, and its sagas have gone on since:
  -- moved again, one would be taken from whoever drives it now.
  if p_moved is not null and v_count > 0 then
    perform saga_move(
      p_process, p_moved, p_statuses, p_lives, p_wakes, v_refused
    );
  end if;
  -- Not those that a refused entry would have answered: whoever drives that saga answers them.
  if p_signals is not null and v_count > 0 then
    delete from saga_signal
    where signal_id = any (p_signals) and (v_refused is null or saga_id <> all (v_refused));
  end if;
  return v_refused;
end
$$;

-- As saga_record, in a transaction with the effects of all these entries: all of them, or it fails.
create function saga_record_all(
  p_process integer, p_batch bigint, p_starts text, p_ids text, p_ns integer[], p_events text,
  p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_signals bigint[]
) returns void
language plpgsql volatile
set search_path from current
as $$
begin
  if saga_record(
    p_process, p_batch, p_starts, p_ids, p_ns, p_events, p_moved, p_statuses, p_lives, p_wakes, p_signals
  ) is not null then
    raise exception 'dure: an entry of a batch is there already' using errcode = 'DU003';
  end if;
end
$$;

-- Inserts what starts; returns the ids that were started before.
create function saga_insert(p_process integer, p_batch bigint, p_starts text) returns text[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_given integer := json_array_length(p_starts::json);
  v_count integer;
  v_refused text[];
begin
  insert into saga_instance (saga_id, definition, version, business_key, input, traceparent, process, batch)
  select s.id, s.definition, s.version, s.key, s.input, s.trace, p_process, p_batch
  from json_to_recordset(p_starts::json) as s (
    id text, definition text, version smallint, key text, input json, trace text
  )
  on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count < v_given then
    select array_agg(g.id) into v_refused
    from json_to_recordset(p_starts::json) as g (id text)
    where not exists (
      select from saga_instance i
      where i.saga_id = g.id and i.process = p_process and i.batch = p_batch
    );
  end if;
  -- A batch that is written again may meet sagas that have ended since: those with a first entry are done.
  insert into saga_live (saga_id, definition, version, process, deadline_at)
  select s.id, s.definition, s.version, p_process, clock_timestamp() + s.deadline * interval '1 ms'
  from json_to_recordset(p_starts::json) as s (id text, definition text, version smallint, deadline bigint)
  where v_count = v_given or (
    (v_refused is null or s.id <> all (v_refused))
    and not exists (select from saga_journal j where j.saga_id = s.id and j.n = 1)
  );
  return v_refused;
end
$$;

create function saga_move(
  p_process integer, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_refused text[]
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
  v_ids text[] := string_to_array(p_moved, chr(30));
  v_statuses text[] := string_to_array(p_statuses, chr(30));
  v_lives text[] := string_to_array(p_lives, chr(30));
begin
  if p_refused is not null then
    select array_agg(m.id), array_agg(m.status), array_agg(m.live), array_agg(m.wake)
    into v_ids, v_statuses, v_lives, p_wakes
    from unnest(v_ids, v_statuses, v_lives, p_wakes) as m (id, status, live, wake)
    where m.id <> all (p_refused);
  end if;
  -- Only while the saga is this process's.
  update saga_instance i set
    status = m.status,
    ended_at = case when m.live = 'end' then clock_timestamp() end
  from unnest(v_ids, v_statuses, v_lives) as m (id, status, live)
  join saga_live l on l.saga_id = m.id and l.process = p_process
  where i.saga_id = m.id and m.status <> '';
  if 'end' = any (v_lives) then
    delete from saga_live l
    where l.saga_id = any (array(
        select m.id from unnest(v_ids, v_lives) as m (id, live) where m.live = 'end'
      )) and l.process = p_process;
    -- In a statement after it: whoever sent one meanwhile has committed. Nobody would ever take it, and those
    -- that nobody takes are in the way of the others in saga_claim.
    delete from saga_signal s
    where s.saga_id = any (array(
        select m.id from unnest(v_ids, v_lives) as m (id, live) where m.live = 'end'
      ));
  end if;
  if 'free' = any (v_lives) then
    update saga_live l set
      process = null,
      wake_at = case when m.wake >= 0 then clock_timestamp() + m.wake * interval '1 ms' end
    from unnest(v_ids, v_lives, p_wakes) as m (id, live, wake)
    where l.saga_id = m.id and m.live = 'free' and l.process = p_process;
  end if;
end
$$;

-- One entry in the transaction of a step, all or nothing: fails where saga_record would answer that it was not
-- taken, and also where it was written before, for then so was the rest of that transaction.
create function saga_record_local(
  p_process integer, p_batch bigint, p_starts text, p_id text, p_n integer, p_events text,
  p_moved text, p_status text, p_live text, p_wake bigint, p_signals bigint[]
) returns void
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  -- A statement of its own, with a snapshot from after the lock.
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  if p_starts is not null and saga_insert(p_process, p_batch, p_starts) is not null then
    raise exception 'dure: saga % was started before', p_id using errcode = 'DU003';
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  values (p_id, p_n, p_process, p_batch, p_events::json)
  on conflict do nothing;
  if not found then
    raise exception 'dure: entry % of saga % is there already', p_n, p_id using errcode = 'DU003';
  end if;
  if p_moved is not null then
    perform saga_move(p_process, p_moved, p_status, p_live, array[p_wake], null);
  end if;
  if p_signals is not null then
    delete from saga_signal where signal_id = any (p_signals);
  end if;
end
$$;

-- Starts a saga in the caller's transaction. Returns nothing when it is new, else the one that has the id.
create function saga_start(
  p_id text, p_definition text, p_version integer, p_key text, p_input text, p_trace text, p_deadline_ms bigint
) returns table (definition text, version smallint, input text)
language plpgsql volatile
set search_path from current
as $$
begin
  insert into saga_instance (saga_id, definition, version, business_key, input, traceparent)
  values (p_id, p_definition, p_version, p_key, p_input::json, p_trace)
  on conflict do nothing;
  if found then
    insert into saga_live (saga_id, definition, version, wake_at, deadline_at)
    values (
      p_id, p_definition, p_version, clock_timestamp(), clock_timestamp() + p_deadline_ms * interval '1 ms'
    );
    return;
  end if;
  return query
    select i.definition, i.version, i.input::text from saga_instance i where i.saga_id = p_id;
end
$$;

-- Takes over what is due or has signals, of the definitions that the process knows and as many as it has room for.
create function saga_claim(
  p_process integer, p_definitions text[], p_versions integer[], p_limits integer[]
) returns setof text
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
  -- Read once: clock_timestamp() is volatile, and what is volatile is no condition for an index.
  v_now constant timestamptz := clock_timestamp();
  v_signalled text[];
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  select array_agg(distinct s.saga_id) into v_signalled
  from (select saga_id from saga_signal order by signal_id limit 1000) s;
  return query
    with due as (
      select l.saga_id
      from unnest(p_definitions, p_versions, p_limits) as d (definition, version, places)
      cross join lateral (
        select c.saga_id from saga_live c
        where c.definition = d.definition and c.version = d.version
          and c.process is null and c.wake_at <= v_now
        order by c.wake_at limit d.places
        for update skip locked
      ) l
    ), signalled as (
      select l.saga_id from saga_live l
      join unnest(p_definitions, p_versions, p_limits) as d (definition, version, places)
        on l.definition = d.definition and l.version = d.version and d.places > 0
      where l.saga_id = any (v_signalled) and l.process is null
      for update of l skip locked
    )
    update saga_live u set process = p_process, wake_at = null
    where u.saga_id = any (array(select saga_id from due union select saga_id from signalled))
    returning u.saga_id;
end
$$;

-- Leaves a signal for whoever drives the saga. False: the saga has ended, or is not known.
create function saga_signal_send(p_id text, p_dedup_key text, p_body text) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  -- Held until the commit: the saga cannot end in between.
  perform from saga_live where saga_id = p_id for key share;
  if not found then
    return false;
  end if;
  insert into saga_signal (saga_id, dedup_key, body) values (p_id, p_dedup_key, p_body::json)
  on conflict do nothing;
  return true;
end
$$;

-- Removes sagas that ended long ago, with their journals. Returns how many; fewer than the limit: no more are left.
create function saga_retire(p_older_ms bigint, p_limit integer) returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  -- Read once: what is volatile is no condition for an index.
  v_before constant timestamptz := clock_timestamp() - p_older_ms * interval '1 ms';
  v_ids text[];
begin
  v_ids := array(
    select saga_id from saga_instance
    where started_at < v_before and ended_at < v_before
    limit p_limit
    for update skip locked
  );
  delete from saga_journal where saga_id = any (v_ids);
  delete from saga_signal where saga_id = any (v_ids);
  delete from saga_instance where saga_id = any (v_ids);
  return cardinality(v_ids);
end
$$;

-- For people and SQL: the events of each saga, one a row.
create view saga_event as
select j.saga_id, j.n, e.at, j.recorded_at, j.process,
  e.event ->> 'type' as type, e.event ->> 'step' as step, e.event
from saga_journal j
cross join lateral json_array_elements(j.events) with ordinality as e (event, at);
