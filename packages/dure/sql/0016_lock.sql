-- Lease locks: who may work on a key now, for a time that only this server's clock measures; and the guard that
-- refuses a write under an older fencing token. ADR 0024 says why each statement stands where it stands.

set local search_path to :"schema", pg_temp;

-- The fencing tokens of all keys: a key whose row was removed does not begin again.
create sequence lock_token as bigint no cycle cache 1;

create table lock_lease (
  key text primary key check (length(key) between 1 and 500),
  -- One for each acquisition. Null: free.
  holder text,
  -- Of the last acquisition; drawn under the row's lock, so that for one key a later holder has a greater one.
  token bigint not null,
  -- For people: which process.
  label text,
  acquired_at timestamptz,
  -- Of a free lock: since when.
  expires_at timestamptz not null default clock_timestamp(),
  -- Somebody waits, at the longest until then, and is to be told when the lock is free.
  wanted_until timestamptz,
  check (holder is null or acquired_at is not null)
) with (fillfactor = 50);

-- Takes the lock if it is free or its time is over, in a transaction of its own. `token` null: it is held. Asked again by the
-- same holder, whose answer was lost, it says the same token. An open transaction that commits or marks the row is
-- waited for, for a second at most.
create function lock_acquire(
  p_key text, p_holder text, p_label text, p_lease_ms integer, p_wait_ms integer,
  out token bigint, out remaining_ms bigint
)
language plpgsql volatile
set search_path from current
set lock_timeout = '1s'
as $$
declare
  v_lease lock_lease;
  v_now timestamptz;
begin
  -- Looked at without a lock first: who waits and looks again writes nothing.
  select * into v_lease from lock_lease l where l.key = p_key;
  v_now := clock_timestamp();
  if v_lease.holder <> p_holder and v_lease.expires_at > v_now
    and (p_wait_ms = 0 or v_lease.wanted_until >= v_now + p_wait_ms * interval '1 ms')
  then
    remaining_ms := ceil(extract(epoch from v_lease.expires_at - v_now) * 1000);
    return;
  end if;
  loop
    select * into v_lease from lock_lease l where l.key = p_key for update;
    exit when found;
    -- A rival may have been first: then the row is looked for again, and waited for.
    insert into lock_lease (key, token) values (p_key, 0) on conflict do nothing;
  end loop;
  -- Read when the row is ours: waiting for it costs nothing of the lease, and nothing is judged by an older time.
  v_now := clock_timestamp();
  if v_lease.holder <> p_holder and v_lease.expires_at > v_now then
    -- A second more than needed, so that the looks of one waiter mark the row once.
    update lock_lease l
    set wanted_until = greatest(l.wanted_until, v_now + (p_wait_ms + 1000) * interval '1 ms')
    where l.key = p_key and p_wait_ms > 0;
    remaining_ms := ceil(extract(epoch from v_lease.expires_at - v_now) * 1000);
    return;
  end if;
  update lock_lease l set
    holder = p_holder,
    token = case when l.holder = p_holder then l.token else nextval('lock_token') end,
    label = p_label, acquired_at = v_now, expires_at = v_now + p_lease_ms * interval '1 ms'
  where l.key = p_key
  returning l.token into token;
end
$$;

-- Gives the lock back, in a transaction of its own. A lock that is kept for a while keeps its holder, of whom nobody will
-- hear again. Its commit does not wait for the disk: a release that a crash of the server undoes is one that its lease
-- makes up for. A grant waits, and a renewal: others and the holder have believed them.
create function lock_release(p_key text, p_holder text, p_keep_ms integer) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  update lock_lease l set
    holder = case when l.acquired_at + p_keep_ms * interval '1 ms' > clock_timestamp() then l.holder end,
    expires_at = greatest(clock_timestamp(), l.acquired_at + p_keep_ms * interval '1 ms')
  where l.key = p_key and l.holder = p_holder and l.expires_at > clock_timestamp();
  return found;
end
$$;

-- The last statement of a transaction under a lock: gives the lock back in the same commit, or fails because it is not
-- held any more. The row stays locked until COMMIT, so that nobody takes the lock between this answer and that.
create function lock_commit(p_key text, p_holder text) returns void
language plpgsql volatile
set search_path from current
as $$
begin
  update lock_lease l set holder = null, expires_at = clock_timestamp()
  where l.key = p_key and l.holder = p_holder and l.expires_at > clock_timestamp();
  if not found then
    raise exception 'the lease of lock "%" was lost before COMMIT: nothing was committed', p_key
      using errcode = 'DU016', hint = 'Take the lock again and read again what was read under it.';
  end if;
end
$$;

-- An operator's: frees the lock whoever holds it. The holder's next renewal, or its COMMIT, is refused. False: it was free.
create function lock_force_release(p_key text, p_actor text, p_reason text) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  update lock_lease l set holder = null, expires_at = clock_timestamp()
  where l.key = p_key and l.holder is not null and l.expires_at > clock_timestamp();
  if not found then
    return false;
  end if;
  insert into audit_entry (actor, action, subject, reason)
  values (p_actor, 'lock.release', 'lock/' || p_key, p_reason);
  return true;
end
$$;

-- The greatest token under which a resource was written: what the guarded write compares with.
create table lock_guard (
  resource text primary key check (length(resource) between 1 and 600),
  token bigint not null,
  holder text not null,
  written_at timestamptz not null
) with (fillfactor = 50);

-- Accepts a greater token, or the same of the same holder, and keeps all others out until the transaction ends.
create function lock_guard_write(p_resource text, p_token bigint, p_holder text) returns void
language plpgsql volatile
set search_path from current
as $$
begin
  insert into lock_guard as g (resource, token, holder, written_at)
  values (p_resource, p_token, p_holder, clock_timestamp())
  on conflict (resource) do update
  set token = excluded.token, holder = excluded.holder, written_at = excluded.written_at
  where g.token < excluded.token or (g.token = excluded.token and g.holder = excluded.holder);
  if not found then
    raise exception 'a write of "%" under fencing token % was refused: a later holder has written', p_resource, p_token
      using errcode = 'DU003', hint = 'The lock was lost. Take it again and read again what was read under it.';
  end if;
end
$$;
