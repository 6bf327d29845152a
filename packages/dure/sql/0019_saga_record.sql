-- Journal entries are written as what they nearly always are, new ones: with a unique index that complains
-- instead of one that is asked first for each row. See docs/adr/0020-saga-journal.md.

set local search_path to :"schema", pg_temp;

-- As in 0011. What meets an entry or a saga that is there already does nothing, and the batch is written again
-- with care, as before: in doubt before, started before, or another has the saga.
create or replace function saga_record(
  p_process integer, p_batch bigint,
  p_starts text,
  p_ids text, p_ns integer[], p_events text,
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
begin
  perform pg_advisory_xact_lock_shared(saga_lock_namespace(), p_process);
  -- A statement of its own, with a snapshot from after the lock.
  perform from saga_process where process = p_process and fenced_at is null;
  if not found then
    raise exception 'dure: process % of the saga engine was fenced: its sagas belong to others', p_process
      using errcode = 'DU003';
  end if;
  -- All of it or nothing: what is caught has undone the whole block.
  begin
    if p_starts is not null then
      with s as materialized (
        select * from json_to_recordset(p_starts::json) as s (
          id text, definition text, version smallint, key text, input json, trace text, deadline bigint
        )
      ), started as (
        insert into saga_instance (saga_id, definition, version, business_key, input, traceparent, process, batch)
        select s.id, s.definition, s.version, s.key, s.input, s.trace, p_process, p_batch from s
      )
      insert into saga_live (saga_id, definition, version, process, deadline_at)
      select s.id, s.definition, s.version, p_process, clock_timestamp() + s.deadline * interval '1 ms' from s;
    end if;
    insert into saga_journal (saga_id, n, process, batch, events)
    select e.id, e.n, p_process, p_batch, e.events::json
    from unnest(
      string_to_array(p_ids, chr(30)), p_ns, string_to_array(p_events, chr(30))
    ) as e (id, n, events);
    if p_moved is not null then
      perform saga_move(p_process, p_moved, p_statuses, p_lives, p_wakes, null);
    end if;
    if p_signals is not null then
      delete from saga_signal where signal_id = any (p_signals);
    end if;
    return null;
  exception when unique_violation then
    null;
  end;
  return saga_record_again(
    p_process, p_batch, p_starts, p_ids, p_ns, p_events, p_moved, p_statuses, p_lives, p_wakes, p_signals
  );
end
$$;

-- Writes what of a batch is not there yet, for saga_record, which has checked the fence. Returns the sagas whose
-- entry was not taken. Called again with the same batch it does nothing that was done, and answers the same.
create function saga_record_again(
  p_process integer, p_batch bigint,
  p_starts text,
  p_ids text, p_ns integer[], p_events text,
  p_moved text, p_statuses text, p_lives text, p_wakes bigint[],
  p_signals bigint[]
) returns text[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_ids text[] := string_to_array(p_ids, chr(30));
  v_count integer;
  v_refused text[];
begin
  if p_starts is not null then
    v_refused := saga_insert(p_process, p_batch, p_starts);
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  select e.id, e.n, p_process, p_batch, e.events::json
  from unnest(v_ids, p_ns, string_to_array(p_events, chr(30))) as e (id, n, events)
  where v_refused is null or e.id <> all (v_refused)
  on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count < cardinality(v_ids) then
    select array_agg(e.id) filter (where j.saga_id is null) into v_refused
    from unnest(v_ids, p_ns) as e (id, n)
    left join saga_journal j
      on j.saga_id = e.id and j.n = e.n and j.process = p_process and j.batch = p_batch;
  end if;
  -- A batch commits as a whole. Where none of it is new it was done before, and its sagas have gone on since:
  -- moved again, one would be taken from whoever drives it now.
  if p_moved is not null and v_count > 0 then
    perform saga_move(p_process, p_moved, p_statuses, p_lives, p_wakes, v_refused);
  end if;
  -- Not those that a refused entry would have answered: whoever drives that saga answers them.
  if p_signals is not null and v_count > 0 then
    delete from saga_signal
    where signal_id = any (p_signals) and (v_refused is null or saga_id <> all (v_refused));
  end if;
  return v_refused;
end
$$;

-- As in 0011; what ends is looked up once in each of the tables.
create or replace function saga_move(
  p_process integer, p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_refused text[]
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
  v_ids text[] := string_to_array(p_moved, chr(30));
  v_statuses text[] := string_to_array(p_statuses, chr(30));
  v_lives text[] := string_to_array(p_lives, chr(30));
  v_status text;
  v_ended text[];
begin
  if p_refused is not null then
    select array_agg(m.id), array_agg(m.status), array_agg(m.live), array_agg(m.wake)
    into v_ids, v_statuses, v_lives, p_wakes
    from unnest(v_ids, v_statuses, v_lives, p_wakes) as m (id, status, live, wake)
    where m.id <> all (p_refused);
  end if;
  -- Only while the saga is this process's, here and below. Looked up by lists, one for each way to end: joined with
  -- them, a table that is nearly empty, and was full a moment ago, may be read from end to end.
  foreach v_status in array array['COMPLETED', 'COMPENSATED'] loop
    continue when v_status <> all (v_statuses);
    v_ended := array(
      select m.id from unnest(v_ids, v_statuses, v_lives) as m (id, status, live)
      where m.live = 'end' and m.status = v_status
    );
    with gone as (
      delete from saga_live l where l.saga_id = any (v_ended) and l.process = p_process returning l.saga_id
    )
    update saga_instance i set status = v_status, ended_at = clock_timestamp()
    where i.saga_id = any (array(select saga_id from gone));
    -- In a statement after it: whoever sent one meanwhile has committed. Nobody would ever take it, and those
    -- that nobody takes are in the way of the others in saga_claim.
    delete from saga_signal s where s.saga_id = any (v_ended);
  end loop;
  if 'free' = any (v_lives) or 'keep' = any (v_lives) then
    update saga_instance i set status = m.status, ended_at = null
    from unnest(v_ids, v_statuses, v_lives) as m (id, status, live)
    join saga_live l on l.saga_id = m.id and l.process = p_process
    where i.saga_id = m.id and m.live <> 'end' and m.status <> '';
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
