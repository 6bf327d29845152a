-- Semantic locks: which saga has a resource in its hands between its steps, long after each step's transaction has
-- ended; and the bounded wait for a row of yours.

set local search_path to :"schema", pg_temp;

create table semantic_lock (
  resource text primary key,
  state text not null check (state in ('AVAILABLE', 'RESERVING', 'RESERVED')),
  -- The saga's id.
  owner text,
  -- The fencing token: raised with each acquisition, and the row stays when the lock goes, so it never starts again.
  token bigint not null check (token >= 0),
  acquired_at timestamptz,
  -- Null: until it is released.
  expires_at timestamptz,
  check ((state = 'AVAILABLE') = (owner is null)),
  check ((state = 'AVAILABLE') = (acquired_at is null)),
  check (state <> 'AVAILABLE' or expires_at is null),
  check (state <> 'RESERVING' or expires_at is not null)
);

create index semantic_lock_expiry on semantic_lock (expires_at) where expires_at is not null;
comment on index semantic_lock_expiry is 'dure:isolation.sweep: the locks whose time is over, the oldest first';

create function semantic_lock_json(p_lock semantic_lock) returns jsonb
language sql volatile as $$
  select jsonb_build_object(
    'resource', p_lock.resource, 'state', p_lock.state, 'owner', p_lock.owner, 'token', p_lock.token,
    'acquiredAt', to_char(p_lock.acquired_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'expiresAt', to_char(p_lock.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'remainingMs', floor(extract(epoch from p_lock.expires_at - clock_timestamp()) * 1000)
  )
$$;

-- Takes the lock, or says who has it. Null: nothing proves that there is a transaction, and nothing was done; the
-- caller proves it and says so. The time is read when the row is ours: waiting for it costs nothing of the lease.
create function semantic_lock_acquire(
  p_resource text, p_owner text, p_lease_ms bigint, p_wait_ms integer, p_is_in_transaction boolean
) returns jsonb
language plpgsql volatile
set search_path from current
-- What the function sets for itself is undone where it ends, because it is named here.
set lock_timeout = 0
as $$
declare
  v_lock semantic_lock;
  v_expired semantic_lock;
  v_now timestamptz;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return null;
  end if;
  -- 0 would be without limit.
  perform set_config('lock_timeout', greatest(p_wait_ms, 1)::text, true);
  begin
    select * into v_lock from semantic_lock l where l.resource = p_resource for update;
    if not found then
      insert into semantic_lock (resource, state, token) values (p_resource, 'AVAILABLE', 0)
      on conflict do nothing;
      -- A rival may have been first: this statement sees what he has committed.
      select * into strict v_lock from semantic_lock l where l.resource = p_resource for update;
    end if;
  exception when lock_not_available then
    return jsonb_build_object('kind', 'busy');
  end;
  v_now := clock_timestamp();
  if v_lock.owner is not null and coalesce(v_lock.expires_at > v_now, true) then
    return jsonb_build_object(
      'kind', case when v_lock.owner = p_owner then 'already-yours' else 'held-by-another' end,
      'lock', semantic_lock_json(v_lock)
    );
  end if;
  v_expired := v_lock;
  update semantic_lock l set
    state = 'RESERVING', owner = p_owner, token = l.token + 1, acquired_at = v_now,
    expires_at = v_now + p_lease_ms * interval '1 ms'
  where l.resource = p_resource
  returning * into v_lock;
  return jsonb_build_object(
    'kind', 'acquired', 'lock', semantic_lock_json(v_lock),
    -- The sweeper will not find it any more, so its owner must be told by whoever took it.
    'takenOver', case when v_expired.owner is not null then semantic_lock_json(v_expired) end
  );
end
$$;

-- Every change by a holder: confirm, renew, release, verify. The row stays locked until COMMIT, also by verify: what
-- was found true cannot change before the caller's own rows commit.
create function semantic_lock_change(
  p_action text, p_resource text, p_owner text, p_token bigint, p_lease_ms bigint, p_wait_ms integer,
  p_is_in_transaction boolean
) returns jsonb
language plpgsql volatile
set search_path from current
set lock_timeout = 0
as $$
declare
  v_lock semantic_lock;
  v_now timestamptz;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return null;
  end if;
  perform set_config('lock_timeout', greatest(p_wait_ms, 1)::text, true);
  begin
    select * into v_lock from semantic_lock l where l.resource = p_resource for update;
  exception when lock_not_available then
    return jsonb_build_object('kind', 'busy');
  end;
  v_now := clock_timestamp();
  if v_lock.owner is null then
    return jsonb_build_object('kind', 'not-held');
  elsif v_lock.owner <> p_owner then
    return jsonb_build_object('kind', 'held-by-another', 'lock', semantic_lock_json(v_lock));
  -- The same saga took it again after its time was over: this is an older part of it that has slept.
  elsif v_lock.token <> p_token then
    return jsonb_build_object('kind', 'superseded', 'lock', semantic_lock_json(v_lock));
  elsif v_lock.expires_at <= v_now and p_action <> 'release' then
    return jsonb_build_object('kind', 'expired', 'lock', semantic_lock_json(v_lock));
  end if;
  if p_action = 'confirm' then
    update semantic_lock l set state = 'RESERVED', expires_at = v_now + p_lease_ms * interval '1 ms'
    where l.resource = p_resource returning * into v_lock;
  elsif p_action = 'renew' then
    -- Never shorter, and what has no end keeps none.
    update semantic_lock l
    set expires_at = case when l.expires_at is not null
      then greatest(l.expires_at, v_now + p_lease_ms * interval '1 ms') end
    where l.resource = p_resource returning * into v_lock;
  elsif p_action = 'release' then
    update semantic_lock l
    set state = 'AVAILABLE', owner = null, acquired_at = null, expires_at = null
    where l.resource = p_resource;
  end if;
  return jsonb_build_object('kind', 'done', 'lock', semantic_lock_json(v_lock));
end
$$;

-- Waits for a row of a table of yours, and locks it until COMMIT; false when the time is over. A statement that fails
-- would end the transaction, and some drivers refuse to commit one even behind a savepoint: here nothing fails.
-- p_table is quoted by the caller, and found by the caller's search_path.
create function row_lock(p_table text, p_column text, p_id text, p_wait_ms integer) returns boolean
language plpgsql volatile
set lock_timeout = 0
as $$
begin
  perform set_config('lock_timeout', greatest(p_wait_ms, 1)::text, true);
  execute format('select from %s where %I = %L for update', p_table, p_column, p_id);
  return true;
exception when lock_not_available then
  return false;
end
$$;
