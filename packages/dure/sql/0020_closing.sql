-- Flows that an operator ends, deadlines of driven sagas, refusals that a participant remembers.
-- See docs/adr/0032-closing.md.

set local search_path to :"schema", pg_temp;

create index saga_signal_resolve on saga_signal (signal_id)
  where dedup_key in ('command/resolve/COMPLETED', 'command/resolve/COMPENSATED');
comment on index saga_signal_resolve is 'flow_resolve: the flows that an operator ends; a parked saga''s resolve has its entry in the key';

-- Ends some flows as operators have asked, and says which. What another transaction has in its hands is left
-- for the next look: that may be the very end.
create function flow_resolve(p_limit integer) returns table (
  saga_id text, definition text, version smallint, status text, actor text, why text
)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_held text[];
  v_ids text[];
  v_statuses text[];
  v_actors text[];
  v_whys text[];
begin
  -- The flow's row first, as whoever hears an event of it does.
  select array_agg(h.saga_id) into v_held from (
    select i.saga_id from saga_signal s
    join saga_instance i on i.saga_id = s.saga_id
    where s.dedup_key in ('command/resolve/COMPLETED', 'command/resolve/COMPENSATED')
    order by s.signal_id limit p_limit
    for update of i skip locked
  ) h;
  -- A statement of its own, under the lock: one that has ended meanwhile has taken its signals with it.
  select array_agg(s.saga_id), array_agg(s.body ->> 'as'), array_agg(s.body ->> 'actor'), array_agg(s.body ->> 'why')
  into v_ids, v_statuses, v_actors, v_whys
  from saga_signal s join saga_live l on l.saga_id = s.saga_id
  where s.saga_id = any (v_held) and l.process = flow_process()
    and s.dedup_key in ('command/resolve/COMPLETED', 'command/resolve/COMPENSATED');
  if v_ids is null then
    return;
  end if;
  insert into saga_journal (saga_id, n, process, batch, events)
  select g.id, (select max(j.n) + 1 from saga_journal j where j.saga_id = g.id), flow_process(), 0,
    json_build_array(
      json_build_object('type', 'commanded', 'command', 'resolve', 'actor', g.actor, 'why', g.why, 'as', g.status),
      case g.status when 'COMPLETED' then json_build_object('type', 'completed')
      else json_build_object('type', 'compensated', 'reason', json_build_object(
        'code', 'RESOLVED', 'error', 'an operator has marked it as resolved'
      )) end
    )
  from unnest(v_ids, v_statuses, v_actors, v_whys) as g (id, status, actor, why);
  update saga_instance i set status = g.status, ended_at = v_now
  from unnest(v_ids, v_statuses) as g (id, status) where i.saga_id = g.id;
  delete from flow_wait w where w.saga_id = any (v_ids);
  delete from saga_live l where l.saga_id = any (v_ids);
  -- After the live rows: whoever left one meanwhile has committed.
  delete from saga_signal s where s.saga_id = any (v_ids);
  return query
    select i.saga_id, i.definition, i.version, i.status, g.actor, g.why
    from unnest(v_ids, v_actors, v_whys) as g (id, actor, why)
    join saga_instance i on i.saga_id = g.id order by i.saga_id;
end
$$;

-- As before, and an operator's command goes with the flow that has ended: nobody would take it.
create or replace function flow_move(p_entries text, p_now timestamptz) returns void
language plpgsql volatile
set search_path from current
set enable_seqscan = off
as $$
declare
  v_starts text[];
  v_ended text[];
  v_moved text[];
begin
  select array_agg(id) filter (where is_start), array_agg(id) filter (where is_end), array_agg(id)
  into v_starts, v_ended, v_moved
  from json_to_recordset(p_entries::json) as e (id text, is_start boolean, is_end boolean);
  delete from flow_early f
  using json_to_recordset(p_entries::json) as e (id text, definition text, is_start boolean)
  where e.is_start and f.definition = e.definition and f.saga_id = e.id;
  update saga_instance i set status = e.status, ended_at = case when e.is_end then p_now end
  from json_to_recordset(p_entries::json) as e (id text, status text, is_end boolean)
  where i.saga_id = e.id and i.status <> e.status and i.ended_at is null;
  delete from flow_wait w
  where w.saga_id = any (v_moved) and (w.saga_id, w.wait) not in (
    select e.id, x.wait
    from json_to_recordset(p_entries::json) as e (id text, waits json)
    cross join json_to_recordset(e.waits) as x (wait text)
  );
  insert into flow_wait (saga_id, wait, service, since, deadline_at)
  select e.id, x.wait, x.service, p_now, p_now + x.ms * interval '1 ms'
  from json_to_recordset(p_entries::json) as e (id text, waits json)
  cross join json_to_recordset(e.waits) as x (wait text, service text, ms bigint)
  on conflict do nothing;
  delete from saga_live where saga_id = any (v_ended);
  delete from saga_signal where saga_id = any (v_ended);
  insert into saga_live (saga_id, definition, version, process)
  select id, definition, version, flow_process()
  from json_to_recordset(p_entries::json) as e (
    id text, definition text, version smallint, is_start boolean, is_end boolean
  ) where is_start and not is_end;
  update saga_live l set deadline_at = (select min(w.deadline_at) from flow_wait w where w.saga_id = l.saga_id)
  where l.saga_id = any (v_moved);
end
$$;

-- `refused`: it was not done and will not be; `answer` holds why.
alter table participant_action drop constraint participant_action_state_check;
alter table participant_action add constraint participant_action_state_check
  check (state in ('done', 'compensated', 'refused'));

-- As saga_record, but waits for nobody's lock: a user's open transaction may have the id of a saga that starts.
-- SQLSTATE 55P03: nothing was written.
create function saga_record_soon(
  p_process integer, p_batch bigint, p_starts text, p_ids text, p_ns integer[], p_events text,
  p_moved text, p_statuses text, p_lives text, p_wakes bigint[], p_signals bigint[]
) returns text[]
language plpgsql volatile
set search_path from current
set lock_timeout = '100ms'
as $$
begin
  return saga_record(
    p_process, p_batch, p_starts, p_ids, p_ns, p_events, p_moved, p_statuses, p_lives, p_wakes, p_signals
  );
end
$$;

-- Moves the deadline of a saga, or takes it away; with an entry in the audit log. Answers: moved, repeated, followed (a
-- flow: its waits are its definition's), parked, ended, unknown. Whoever drives it is told by a signal; one that
-- waits may be looked at before the new deadline, and waits on then.
create or replace function saga_move_deadline(
  p_id text, p_deadline timestamptz, p_actor text, p_reason text
) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_live saga_live;
  v_status text;
begin
  select status into v_status from saga_instance where saga_id = p_id;
  if not found then
    return 'unknown';
  end if;
  -- Nobody takes it over, or lets go of it, meanwhile.
  select * into v_live from saga_live where saga_id = p_id for no key update;
  if not found then
    return 'ended';
  elsif v_live.process = flow_process() then
    return 'followed';
  elsif v_live.process is null and v_status in ('FAILED', 'COMPENSATION_FAILED') then
    return 'parked';
  elsif v_live.deadline_at is not distinct from p_deadline then
    return 'repeated';
  end if;
  update saga_live set deadline_at = p_deadline,
    wake_at = case when process is null then least(wake_at, p_deadline) end
  where saga_id = p_id;
  -- The row says it to whoever takes the saga over, the signal to whoever has read the row before. The last one counts.
  delete from saga_signal where saga_id = p_id and starts_with(dedup_key, 'deadline/');
  if v_live.process is not null then
    insert into saga_signal (saga_id, dedup_key, body) values (
      p_id, 'deadline/' || gen_random_uuid(),
      json_build_object('kind', 'deadline', 'at', (extract(epoch from p_deadline) * 1000)::bigint)
    );
  end if;
  insert into audit_entry (actor, action, subject, reason)
  values (
    p_actor, case when p_deadline is null then 'saga.cancel-deadline' else 'saga.move-deadline' end,
    'saga/' || p_id, p_reason
  );
  return 'moved';
end
$$;
