-- Semaphores: N permits over all processes, and a bounded line in front of them, first come, first served. docs/adr/0025.

set local search_path to :"schema", pg_temp;

create table semaphore (
  name text primary key,
  -- What is in force. 0: nobody comes in.
  permits integer not null check (permits between 0 and 10000),
  line_max integer not null check (line_max between 0 and 100000),
  -- What the code says that declared it last.
  declared_permits integer not null,
  declared_line_max integer not null,
  -- An operator's setting is in force, whatever the code declares.
  is_set boolean not null default false
);

-- One incarnation of a process. Its places count until it is fenced, and it can be when its lease is over.
create table semaphore_member (
  member bigint primary key generated always as identity,
  process text not null,
  lease_until timestamptz not null,
  fenced_at timestamptz
);

create table semaphore_place (
  -- Drawn under the lock of the semaphore's row: the order of the line.
  place bigint primary key generated always as identity,
  semaphore text not null,
  member bigint not null,
  -- The member's own name for it, so that one whose answer was lost can be told.
  key text not null,
  asked_at timestamptz not null default clock_timestamp(),
  -- Null: it waits.
  granted_at timestamptz,
  unique (member, key)
-- Rows come and go, and each gets one update: room for it on its own page, and a vacuum before the table grows.
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

create index semaphore_place_line on semaphore_place (semaphore, place);
comment on index semaphore_place_line is 'semaphore_advance, semaphore_acquire: the places of a semaphore in their order';

-- Fences members whose lease is over. A renewal under way has the row: that member lives, and is passed over.
create function semaphore_fence() returns void
language sql volatile
set search_path from current
as $$
  update semaphore_member set fenced_at = clock_timestamp() where member in (
    select member from semaphore_member
    where fenced_at is null and lease_until <= clock_timestamp()
    order by member for no key update skip locked
  )
$$;

-- Removes the places of members that are fenced or gone, grants what is free to the first of the line, and returns
-- the members that were granted something. The caller has locked the semaphore's row.
create function semaphore_advance(p_name text) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_free integer;
  v_woken bigint[];
begin
  delete from semaphore_place p
  where p.semaphore = p_name and not exists (
    select from semaphore_member m where m.member = p.member and m.fenced_at is null
  );
  select s.permits - (
    select count(*) from semaphore_place p where p.semaphore = p_name and p.granted_at is not null
  ) into v_free
  from semaphore s where s.name = p_name;
  if coalesce(v_free, 0) <= 0 then
    return '{}';
  end if;
  with granted as (
    update semaphore_place set granted_at = clock_timestamp() where place in (
      select place from semaphore_place
      where semaphore = p_name and granted_at is null order by place limit v_free
    )
    returning member
  )
  select array_agg(distinct member) into v_woken from granted;
  return coalesce(v_woken, '{}');
end
$$;

-- Fences whom it can, and gives on what the fenced held, in every semaphore. Locks in the order of names.
create function semaphore_sweep() returns bigint[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_name text;
  v_woken bigint[] := '{}';
begin
  perform semaphore_fence();
  for v_name in
    select distinct p.semaphore from semaphore_place p
    where not exists (
      select from semaphore_member m where m.member = p.member and m.fenced_at is null
    )
    order by p.semaphore
  loop
    perform from semaphore where name = v_name for update;
    v_woken := v_woken || semaphore_advance(v_name);
  end loop;
  delete from semaphore_member where member in (
    select m.member from semaphore_member m
    where m.fenced_at is not null
      and not exists (select from semaphore_place p where p.member = m.member)
    for update skip locked
  );
  return v_woken;
end
$$;

create function semaphore_join(p_process text, p_lease_ms integer) returns bigint
language sql volatile
set search_path from current
as $$
  insert into semaphore_member (process, lease_until)
  values (p_process, clock_timestamp() + p_lease_ms * interval '1 ms') returning member
$$;

-- Renews the lease. False: it was fenced, and its places are others'.
create function semaphore_beat(p_member bigint, p_lease_ms integer) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  update semaphore_member set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
  where member = p_member and fenced_at is null;
  return found;
end
$$;

-- Gives everything back, at once.
create function semaphore_leave(p_member bigint) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
begin
  update semaphore_member set fenced_at = clock_timestamp() where member = p_member and fenced_at is null;
  return semaphore_sweep();
end
$$;

-- The places of a member as JSON: [{"name": …, "key": …, "isHeld": …}]; and who was granted something by the sweep.
create function semaphore_look(p_member bigint) returns jsonb
language plpgsql volatile
set search_path from current
as $$
declare
  v_woken bigint[] := semaphore_sweep();
begin
  return jsonb_build_object('woken', v_woken, 'places', (
    select coalesce(jsonb_agg(jsonb_build_object('name', p.semaphore, 'key', p.key, 'isHeld', p.granted_at is not null)), '[]')
    from semaphore_place p
    join semaphore_member m on m.member = p.member and m.fenced_at is null
    where p.member = p_member
  ));
end
$$;

-- What the code says. An operator's setting stays in force.
create function semaphore_declare(p_name text, p_permits integer, p_line_max integer) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
begin
  insert into semaphore as s (name, permits, line_max, declared_permits, declared_line_max)
  values (p_name, p_permits, p_line_max, p_permits, p_line_max)
  on conflict (name) do update set
    permits = case when s.is_set then s.permits else excluded.permits end,
    line_max = case when s.is_set then s.line_max else excluded.line_max end,
    declared_permits = excluded.declared_permits,
    declared_line_max = excluded.declared_line_max;
  return semaphore_advance(p_name);
end
$$;

-- A permit, a place in the line, or neither, as JSON: kind is held, waiting, busy (it may not wait), full, fenced or
-- undeclared. Nobody who comes now is served before the line.
create function semaphore_acquire(p_name text, p_member bigint, p_key text, p_may_wait boolean) returns jsonb
language plpgsql volatile
set search_path from current
as $$
declare
  v_semaphore semaphore;
  v_held integer;
  v_waiting integer;
  v_woken bigint[] := '{}';
  v_kind text;
begin
  select * into v_semaphore from semaphore s where s.name = p_name for update;
  if not found then
    return jsonb_build_object('kind', 'undeclared', 'waiting', 0, 'woken', v_woken);
  end if;
  perform from semaphore_member m
  where m.member = p_member and m.fenced_at is null and m.lease_until > clock_timestamp();
  if not found then
    return jsonb_build_object('kind', 'fenced', 'waiting', 0, 'woken', v_woken);
  end if;
  select count(p.granted_at), count(*) - count(p.granted_at) into v_held, v_waiting
  from semaphore_place p where p.semaphore = p_name;
  if v_waiting > 0 or v_held >= v_semaphore.permits then
    -- Before anyone is sent away or made to wait: the dead go.
    perform semaphore_fence();
    v_woken := semaphore_advance(p_name);
    select count(p.granted_at), count(*) - count(p.granted_at) into v_held, v_waiting
    from semaphore_place p where p.semaphore = p_name;
  end if;
  v_kind := case
    when v_waiting = 0 and v_held < v_semaphore.permits then 'held'
    when not p_may_wait then 'busy'
    when v_waiting >= v_semaphore.line_max then 'full'
    else 'waiting'
  end;
  if v_kind in ('held', 'waiting') then
    insert into semaphore_place (semaphore, member, key, granted_at)
    values (p_name, p_member, p_key, case when v_kind = 'held' then clock_timestamp() end);
  end if;
  return jsonb_build_object('kind', v_kind, 'waiting', v_waiting, 'woken', v_woken);
end
$$;

-- Gives a place up. With p_only_waiting a permit that was granted meanwhile is kept. isGone: there is no place any more.
create function semaphore_release(p_name text, p_member bigint, p_key text, p_only_waiting boolean) returns jsonb
language plpgsql volatile
set search_path from current
as $$
declare
  v_is_held boolean;
begin
  perform from semaphore where name = p_name for update;
  if p_only_waiting then
    select p.granted_at is not null into v_is_held
    from semaphore_place p where p.member = p_member and p.key = p_key;
    if v_is_held then
      return jsonb_build_object('isGone', false, 'woken', '[]'::jsonb);
    end if;
  end if;
  delete from semaphore_place where member = p_member and key = p_key;
  return jsonb_build_object('isGone', true, 'woken', semaphore_advance(p_name));
end
$$;

-- An operator's setting, in force until it is reset (nulls). Null: there is no such semaphore.
create function semaphore_set(p_name text, p_permits integer, p_line_max integer, p_actor text, p_reason text)
returns bigint[]
language plpgsql volatile
set search_path from current
as $$
begin
  update semaphore s set
    is_set = p_permits is not null or p_line_max is not null,
    permits = case when p_permits is null and p_line_max is null then s.declared_permits
      else coalesce(p_permits, s.permits) end,
    line_max = case when p_permits is null and p_line_max is null then s.declared_line_max
      else coalesce(p_line_max, s.line_max) end
  where s.name = p_name;
  if not found then
    return null;
  end if;
  insert into audit_entry (actor, action, subject, reason)
  select p_actor, 'semaphore.' || case when s.is_set then 'set' else 'reset' end,
    format('semaphore/%s permits=%s lineMax=%s', s.name, s.permits, s.line_max), p_reason
  from semaphore s where s.name = p_name;
  return semaphore_advance(p_name);
end
$$;

-- Takes a place from whoever has it. Null: there is no such place.
create function semaphore_take_away(p_place bigint, p_actor text, p_reason text) returns bigint[]
language plpgsql volatile
set search_path from current
as $$
declare
  v_name text;
  v_member bigint;
begin
  select p.semaphore into v_name from semaphore_place p where p.place = p_place;
  perform from semaphore where name = v_name for update;
  delete from semaphore_place p where p.place = p_place returning p.member into v_member;
  if v_member is null then
    return null;
  end if;
  insert into audit_entry (actor, action, subject, reason)
  values (p_actor, 'semaphore.release', format('semaphore/%s place %s', v_name, p_place), p_reason);
  return semaphore_advance(v_name) || v_member;
end
$$;
