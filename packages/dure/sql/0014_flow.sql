-- Flows: choreographed sagas, tracked from their events in the tables of sagas. See docs/adr/0022-flows.md.

set local search_path to :"schema", pg_temp;

-- Whom a flow waits for now. A row goes when the answer is heard.
create table flow_wait (
  saga_id text not null,
  -- The step; with `/undone` behind it where its undoing is waited for.
  wait text not null,
  service text not null,
  since timestamptz not null,
  deadline_at timestamptz not null,
  -- Set: it has been said that this takes too long.
  overdue_at timestamptz,
  primary key (saga_id, wait)
);

create index flow_wait_due on flow_wait (deadline_at) where overdue_at is null;
comment on index flow_wait_due is 'flow_overdue: the waits that take too long, the oldest first';

-- What was heard of flows whose start was not heard yet.
create table flow_early (
  definition text not null,
  saga_id text not null,
  -- The event's type.
  type text not null,
  event json not null,
  heard_at timestamptz not null default clock_timestamp(),
  primary key (definition, saga_id, type)
);

create index flow_early_heard on flow_early (heard_at);
comment on index flow_early_heard is 'flow_forget_early: what has waited for so long that its start will not come';

-- In the place of a process: whoever hears an event of the flow writes its next entry. Real ones count from 1, and
-- the engine claims only what belongs to none.
create function flow_process() returns integer
language sql immutable parallel safe as $$ select 0 $$;

-- Holds these flows until COMMIT, in one order, and says what is known of them. The advisory lock stands for those
-- that have no row yet: else the start and what came before it could miss each other.
create function flow_open(p_definitions text[], p_ids text[]) returns table (
  definition text, saga_id text, known_as text, version smallint, status text, journal json, early json
)
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
  perform pg_advisory_xact_lock(k.key) from (
    select distinct hashtextextended('dure.flow:' || g.definition || chr(31) || g.id, 0) as key
    from unnest(p_definitions, p_ids) as g (definition, id) order by key
  ) k;
  -- Statements of their own: each sees what was committed while the one before it waited.
  perform from saga_instance i where i.saga_id = any (p_ids) order by i.saga_id for update;
  return query
    select g.definition, g.id, i.definition, i.version, i.status,
      case when i.definition = g.definition then (
        select json_agg(j.events order by j.n) from saga_journal j where j.saga_id = g.id
      ) end,
      (
        select json_agg(e.event order by e.heard_at, e.type) from flow_early e
        where i.saga_id is null and e.definition = g.definition and e.saga_id = g.id
      )
    from unnest(p_definitions, p_ids) as g (definition, id)
    left join saga_instance i on i.saga_id = g.id;
end
$$;

-- Writes what was heard of flows that are held, and where each stands now. `p_early` is of those that have not
-- started. Waits that go on keep their time.
create function flow_record(p_entries text, p_early text) returns void
language plpgsql volatile
set search_path from current
set enable_seqscan = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  insert into flow_early (definition, saga_id, type, event, heard_at)
  select definition, id, type, event, v_now
  from json_to_recordset(p_early::json) as e (definition text, id text, type text, event json)
  on conflict do nothing;
  -- No "on conflict": a saga that took the id meanwhile makes this fail, and it is looked again.
  insert into saga_instance (saga_id, definition, version, business_key, input, status, traceparent, ended_at)
  select id, definition, version, key, input, status, trace, case when is_end then v_now end
  from json_to_recordset(p_entries::json) as e (
    id text, definition text, version smallint, key text, input json, trace text, status text,
    is_start boolean, is_end boolean
  ) where is_start;
  insert into saga_journal (saga_id, n, process, batch, events)
  select id, coalesce((select max(n) from saga_journal where saga_id = id), 0) + 1, flow_process(), 0, events
  from json_to_recordset(p_entries::json) as e (id text, events json);
  perform flow_move(p_entries, v_now);
end
$$;

create function flow_move(p_entries text, p_now timestamptz) returns void
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
  insert into saga_live (saga_id, definition, version, process)
  select id, definition, version, flow_process()
  from json_to_recordset(p_entries::json) as e (
    id text, definition text, version smallint, is_start boolean, is_end boolean
  ) where is_start and not is_end;
  update saga_live l set deadline_at = (select min(w.deadline_at) from flow_wait w where w.saga_id = l.saga_id)
  where l.saga_id = any (v_moved);
end
$$;

-- Notes some waits that take too long, each once, and says of which flows. What another transaction has in its
-- hands is left: that may be the very answer.
create function flow_overdue(p_limit integer) returns table (
  saga_id text, definition text, version smallint, business_key text, status text,
  services text[], since timestamptz
)
language plpgsql volatile
set search_path from current
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  -- Read once: as a condition of an index it must not change from row to row.
  v_now constant timestamptz := clock_timestamp();
  v_ids text[];
  v_waits text[];
begin
  with due as materialized (
    select w.saga_id, w.wait from flow_wait w
    join saga_instance i on i.saga_id = w.saga_id
    where w.overdue_at is null and w.deadline_at <= v_now
    order by w.deadline_at limit p_limit
    for update of w, i skip locked
  ), noted as (
    update flow_wait w set overdue_at = v_now
    from due d where w.saga_id = d.saga_id and w.wait = d.wait
    returning w.saga_id, w.wait
  )
  select array_agg(o.saga_id), array_agg(o.wait) into v_ids, v_waits from noted o;
  -- Statements of their own: the number of the entry is read under the lock of the flow's row.
  insert into saga_journal (saga_id, n, process, batch, events)
  select o.saga_id, (select max(j.n) + 1 from saga_journal j where j.saga_id = o.saga_id), flow_process(), 0, o.events
  from (
    select w.saga_id, json_agg(json_build_object(
      'type', 'overdue', 'step', w.wait, 'service', w.service, 'since', w.since
    ) order by w.since, w.wait) as events
    from unnest(v_ids, v_waits) as g (saga_id, wait)
    join flow_wait w on w.saga_id = g.saga_id and w.wait = g.wait
    group by w.saga_id
  ) o;
  return query
    select i.saga_id, i.definition, i.version, i.business_key, i.status,
      array_agg(distinct w.service), min(w.since)
    from unnest(v_ids, v_waits) as g (saga_id, wait)
    join flow_wait w on w.saga_id = g.saga_id and w.wait = g.wait
    join saga_instance i on i.saga_id = w.saga_id
    group by i.saga_id, i.definition, i.version, i.business_key, i.status
    order by min(w.since), i.saga_id;
end
$$;

-- Removes what has waited for its start for too long. Returns how much; less than the limit: no more is left.
create function flow_forget_early(p_older_ms bigint, p_limit integer) returns integer
language plpgsql volatile
set search_path from current
as $$
declare
  v_before constant timestamptz := clock_timestamp() - p_older_ms * interval '1 ms';
  v_count integer;
begin
  with old as (
    select definition, saga_id, type from flow_early
    where heard_at < v_before
    limit p_limit for update skip locked
  )
  delete from flow_early f using old o
  where f.definition = o.definition and f.saga_id = o.saga_id and f.type = o.type;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- As before, and false for a flow too: nobody drives it, so nobody would take the signal.
create or replace function saga_signal_send(p_id text, p_dedup_key text, p_body text) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  -- Held until the commit: the saga cannot end in between.
  perform from saga_live where saga_id = p_id and process is distinct from flow_process() for key share;
  if not found then
    return false;
  end if;
  insert into saga_signal (saga_id, dedup_key, body) values (p_id, p_dedup_key, p_body::json)
  on conflict do nothing;
  return true;
end
$$;
