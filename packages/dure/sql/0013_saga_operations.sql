-- What operators see of sagas, and do to them.

set local search_path to :"schema", pg_temp;

-- The newest starts are asked for as soon as they are there.
alter index saga_instance_ended set (autosummarize = on);

create index saga_live_parked on saga_live (saga_id) where process is null and wake_at is null;
comment on index saga_live_parked is 'saga_parked: what waits for a person';

-- For people and SQL: the sagas that wait for a person.
create view saga_parked as
select i.saga_id, i.definition, i.version, i.business_key, i.status, i.traceparent, i.started_at
from saga_live l join saga_instance i on i.saga_id = l.saga_id
where l.process is null and l.wake_at is null and i.status in ('FAILED', 'COMPENSATION_FAILED');

-- Leaves an operator's command for whoever drives the saga, with an entry in the audit log. p_n: the entries that
-- its journal had when the operator looked; null where it goes on meanwhile. Answers: taken; repeated: the same
-- waits already; busy: another waits; moved: something has happened since; ended; unknown.
create function saga_command(
  p_id text, p_n integer, p_key text, p_body text, p_actor text, p_action text, p_subject text, p_reason text
) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_waiting text;
begin
  -- Two operators at a time come one after the other, and nobody takes the saga over meanwhile.
  perform from saga_live where saga_id = p_id for no key update;
  if not found then
    return case when exists (select from saga_instance where saga_id = p_id) then 'ended' else 'unknown' end;
  end if;
  select dedup_key into v_waiting from saga_signal
  where saga_id = p_id and starts_with(dedup_key, 'command/') limit 1;
  if found then
    return case when v_waiting = p_key then 'repeated' else 'busy' end;
  end if;
  if p_n is not null and p_n <> (select coalesce(max(n), 0) from saga_journal where saga_id = p_id) then
    return 'moved';
  end if;
  insert into saga_signal (saga_id, dedup_key, body) values (p_id, p_key, p_body::json);
  insert into audit_entry (actor, action, subject, reason) values (p_actor, p_action, p_subject, p_reason);
  return 'taken';
end
$$;

-- Retries parked sagas, the oldest first. Returns how many had not been asked to before.
create function saga_redrive(
  p_id text, p_definition text, p_key text, p_status text, p_limit integer, p_actor text, p_reason text
) returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_saga record;
  v_count integer := 0;
begin
  for v_saga in
    select p.saga_id, (select coalesce(max(n), 0) from saga_journal j where j.saga_id = p.saga_id) as n
    from saga_parked p
    where (p_id is null or p.saga_id = p_id) and (p_definition is null or p.definition = p_definition)
      and (p_key is null or coalesce(p.business_key, p.saga_id) = p_key) and (p_status is null or p.status = p_status)
    order by p.started_at, p.saga_id limit p_limit
  loop
    if saga_command(
      v_saga.saga_id, v_saga.n, 'command/' || v_saga.n || '/retry',
      json_build_object('kind', 'command', 'command', 'retry', 'actor', p_actor, 'why', coalesce(p_reason, ''))::text,
      p_actor, 'saga.retry', 'saga/' || v_saga.saga_id, p_reason
    ) = 'taken' then
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end
$$;

-- Moves the deadline of a saga that no process drives, or takes it away; with an entry in the audit log. Answers:
-- moved, repeated, driven, parked, ended, unknown. It may be looked at before the new deadline; then it waits on.
create function saga_move_deadline(p_id text, p_deadline timestamptz, p_actor text, p_reason text) returns text
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
  select * into v_live from saga_live where saga_id = p_id for no key update;
  if not found then
    return 'ended';
  elsif v_live.process is not null then
    return 'driven';
  elsif v_status in ('FAILED', 'COMPENSATION_FAILED') then
    return 'parked';
  elsif v_live.deadline_at is not distinct from p_deadline then
    return 'repeated';
  end if;
  update saga_live set deadline_at = p_deadline, wake_at = least(wake_at, p_deadline)
  where saga_id = p_id and process is null;
  insert into audit_entry (actor, action, subject, reason)
  values (
    p_actor, case when p_deadline is null then 'saga.cancel-deadline' else 'saga.move-deadline' end,
    'saga/' || p_id, p_reason
  );
  return 'moved';
end
$$;

-- Sagas, the newest first, from before the one named. Those of a business key by its index, those that go on or are
-- parked by their live rows; others by looking back in steps that grow, for the index knows blocks, not rows.
create function saga_list(
  p_definition text, p_status text, p_key text, p_before timestamptz, p_before_id text, p_limit integer
) returns setof saga_instance
language plpgsql volatile
set search_path from current
set enable_seqscan = off
as $$
declare
  v_to timestamptz := coalesce(p_before, 'infinity');
  v_from timestamptz := least(p_before, clock_timestamp());
  v_left integer := p_limit;
  v_count integer;
begin
  if p_key is not null then
    return query
      select i.* from saga_instance i
      where i.business_key = p_key and (p_definition is null or i.definition = p_definition)
        and (p_status is null or i.status = p_status)
        and (p_before is null or (i.started_at, i.saga_id) < (p_before, p_before_id))
      order by i.started_at desc, i.saga_id desc limit p_limit;
    return;
  elsif p_status in ('FAILED', 'COMPENSATION_FAILED') then
    return query
      select i.* from saga_parked p join saga_instance i on i.saga_id = p.saga_id
      where (p_definition is null or p.definition = p_definition) and p.status = p_status
        and (p_before is null or (p.started_at, p.saga_id) < (p_before, p_before_id))
      order by p.started_at desc, p.saga_id desc limit p_limit;
    return;
  elsif p_status in ('RUNNING', 'COMPENSATING') then
    return query
      select i.* from saga_live l join saga_instance i on i.saga_id = l.saga_id
      where (p_definition is null or l.definition = p_definition) and i.status = p_status
        and (p_before is null or (i.started_at, i.saga_id) < (p_before, p_before_id))
      order by i.started_at desc, i.saga_id desc limit p_limit;
    return;
  end if;
  for v_step in 0..10 loop
    v_from := case when v_step = 10 then '-infinity' else v_from - interval '1 s' * 8 ^ v_step end;
    return query
      select i.* from saga_instance i
      where i.started_at >= v_from and (case when v_step = 0 then i.started_at <= v_to else i.started_at < v_to end)
        and (p_definition is null or i.definition = p_definition)
        and (p_status is null or i.status = p_status)
        and (p_before is null or (i.started_at, i.saga_id) < (p_before, p_before_id))
      order by i.started_at desc, i.saga_id desc limit v_left;
    get diagnostics v_count = row_count;
    v_left := v_left - v_count;
    exit when v_left = 0;
    v_to := v_from;
  end loop;
end
$$;
