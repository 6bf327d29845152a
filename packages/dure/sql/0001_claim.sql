-- Claims: slots (outbox shards, log partitions) that live members share under leases.
-- One lease per member, not per slot, so that holding many slots costs one row update per heartbeat.

set local search_path to :"schema", pg_temp;

create table claim_member (
  scope text not null,
  member_id uuid not null,
  lease_until timestamptz not null,
  joined_at timestamptz not null default clock_timestamp(),
  primary key (scope, member_id)
);

create table claim (
  scope text not null,
  slot smallint not null,
  member_id uuid,
  -- Raised with every change of owner: the fencing token of whoever writes for this slot.
  epoch bigint not null default 0,
  primary key (scope, slot)
);

-- The lock under which claims of one scope change (exclusive) and claimed writes are made (shared).
create function claim_lock_key(p_scope text) returns bigint
language sql immutable parallel safe as $$
  select hashtextextended('dure.claim:' || p_scope, 0)
$$;

-- Renews the member's lease, lets go what dead members held, and takes free slots up to a fair share.
-- Returns no row at all when the member's own lease had run out: it holds nothing any more and must come
-- back under a new id. `surplus` slots are beyond the fair share; the member drains and releases them.
create function claim_heartbeat(
  p_scope text, p_member uuid, p_lease_ms integer, p_slots smallint, p_join boolean
) returns table (slot smallint, epoch bigint, surplus boolean, members integer)
language plpgsql volatile
set search_path from current
as $$
declare
  v_members integer;
  v_rank integer;
  v_share integer;
begin
  -- Exclusive: a write that checked its epoch under the shared lock has committed before this goes on.
  perform pg_advisory_xact_lock(claim_lock_key(p_scope));
  if p_join then
    insert into claim_member (scope, member_id, lease_until)
    values (p_scope, p_member, clock_timestamp() + p_lease_ms * interval '1 ms')
    -- A member that does not know whether it had joined says so again.
    on conflict (scope, member_id) do update set lease_until = excluded.lease_until;
    insert into claim (scope, slot)
    select p_scope, s from generate_series(0, p_slots - 1) s on conflict do nothing;
  else
    update claim_member m set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms'
    where m.scope = p_scope and m.member_id = p_member and m.lease_until > clock_timestamp();
    if not found then
      return;
    end if;
  end if;
  delete from claim_member m where m.scope = p_scope and m.lease_until <= clock_timestamp();
  update claim c set member_id = null
  where c.scope = p_scope and c.member_id is not null
    and not exists (
      select 1 from claim_member m where m.scope = p_scope and m.member_id = c.member_id
    );
  select count(*), count(*) filter (where m.member_id < p_member) into v_members, v_rank
  from claim_member m where m.scope = p_scope;
  v_share := p_slots / v_members + case when v_rank < p_slots % v_members then 1 else 0 end;
  update claim c set member_id = p_member, epoch = c.epoch + 1
  where c.scope = p_scope and c.slot in (
    select f.slot from claim f
    where f.scope = p_scope and f.member_id is null and f.slot < p_slots
    order by f.slot
    limit greatest(0, v_share - (
      select count(*) from claim h where h.scope = p_scope and h.member_id = p_member
    ))
  );
  return query
    select c.slot, c.epoch, row_number() over (order by c.slot) > v_share, v_members
    from claim c where c.scope = p_scope and c.member_id = p_member
    order by c.slot;
  if not found then
    -- A member without a slot is alive all the same: slot -1 says so.
    return query select (-1)::smallint, 0::bigint, false, v_members;
  end if;
end
$$;

-- Gives slots back at once, for others to take with their next heartbeat.
create function claim_release(p_scope text, p_member uuid, p_slots smallint[], p_leave boolean)
returns void
language plpgsql volatile
set search_path from current
as $$
begin
  perform pg_advisory_xact_lock(claim_lock_key(p_scope));
  update claim c set member_id = null
  where c.scope = p_scope and c.member_id = p_member and (p_leave or c.slot = any (p_slots));
  if p_leave then
    delete from claim_member m where m.scope = p_scope and m.member_id = p_member;
  end if;
end
$$;
