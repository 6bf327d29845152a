-- What operators do and see: pausing relays, mending a sequence that was set back, retiring partitions into an
-- archive, and the state of each event.

set local search_path to :"schema", pg_temp;

-- A row here: no relay of this outbox publishes, events pile up. Read by each relay with each look.
create table outbox_pause (
  singleton boolean primary key default true check (singleton),
  actor text not null,
  reason text not null,
  paused_at timestamptz not null default clock_timestamp()
);

-- Raised by every rebase; travels in messages. A relay that sees a new one begins again from what was recorded.
alter table outbox_setting add column incarnation integer not null default 1 check (incarnation >= 1);

-- The ranges of positions above low that are not done: few, also where a gap has kept low down for long.
create function outbox_open_ranges(p_low bigint, p_done int8multirange)
returns table (first bigint, last bigint)
language sql immutable parallel safe rows 4 as $$
  select lower(r), coalesce(upper(r), 9223372036854775807) - 1
  from unnest(int8multirange(int8range(coalesce(p_low, 0) + 1, null)) - coalesce(p_done, '{}')) as r
$$;

-- Whether a shard's sequence was set back and shows it no longer by standing behind what is published. Three
-- traces: it stands behind an event that is there; or one of the last thousand positions (of all, or of a record of
-- progress) stands there twice; or was written after that record had called it done. The newest record is asked, and the last
-- one of each earlier minute, p_records in all.
-- Ten seconds of grace: a server that takes over may have a clock that is behind.
create function outbox_is_set_back(p_shard smallint, p_records integer) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
  v_sequence regclass;
  v_cursor record;
  v_found boolean;
begin
  select position_sequences[p_shard + 1] into strict v_sequence from outbox_setting;
  -- One statement: the sequence is read after the snapshot was taken, so it cannot be behind by a race.
  select coalesce(max(newest.position), 0) > coalesce(pg_sequence_last_value(v_sequence), 0)
    or count(*) > count(distinct newest.position)
  into v_found
  from (
    select m.position from outbox_message m where m.shard = p_shard order by m.position desc limit 1000
  ) newest;
  if v_found then
    return true;
  end if;
  for v_cursor in
    select distinct on (date_trunc('minute', c.written_at))
      c.low, c.done, c.written_at, greatest(c.low, coalesce(upper(range_merge(c.done)) - 1, 0)) as head
    from outbox_cursor c where c.shard = p_shard
    order by date_trunc('minute', c.written_at) desc, c.epoch desc, c.n desc limit p_records
  loop
    select count(*) > count(distinct m.position)
      or coalesce(bool_or(m.written_at > v_cursor.written_at + interval '10 s'), false)
    into v_found
    from outbox_message m
    where m.shard = p_shard and m.position > v_cursor.head - 1000 and m.position <= v_cursor.head
      and (m.position <= v_cursor.low or v_cursor.done @> m.position);
    if v_found then
      return true;
    end if;
  end loop;
  return false;
end
$$;

-- After a shard's sequence was set back: raises it above everything that is there, and gives what was written
-- since the last record of progress new positions, in the order in which it was written: what stood hidden among
-- published positions, and what came after it. Returns how many it moved. What a relay had sent and not recorded
-- is sent again. Waits for open writers, and holds new ones up.
create or replace function outbox_rebase(p_shard smallint) returns bigint
language plpgsql volatile
set search_path from current
as $$
declare
  v_sequence regclass;
  v_cursor outbox_cursor;
  v_base bigint;
  v_count bigint;
  v_is_old boolean;
begin
  -- No relay can record progress, and no writer can write, until this is over.
  perform pg_advisory_xact_lock(claim_lock_key('outbox'));
  lock table outbox_message in share row exclusive mode;
  -- Only this function and other rebases write the row, so nobody waits for its lock but they.
  update outbox_setting set incarnation = incarnation + 1
  returning position_sequences[p_shard + 1] into strict v_sequence;
  select * into v_cursor from outbox_cursor where shard = p_shard order by epoch desc, n desc limit 1;
  select greatest(
    coalesce(v_cursor.low, 0), coalesce(upper(range_merge(v_cursor.done)) - 1, 0),
    coalesce(pg_sequence_last_value(v_sequence), 0),
    coalesce((select m.position from outbox_message m where m.shard = p_shard order by m.position desc limit 1), 0)
  ) into v_base;
  -- A set-back that older records show: a relay has gone on since, and the newest record came after it.
  v_is_old := outbox_is_set_back(p_shard, 200);
  with moved as materialized (
    select m.tableoid as part, m.ctid as place, m.written_at, m.position
    from outbox_message m
    where m.shard = p_shard and m.written_at > coalesce(v_cursor.written_at, '-infinity')
    union
    select m.tableoid, m.ctid, m.written_at, m.position
    from outbox_message m
    where v_is_old and m.shard = p_shard and m.written_at <= v_cursor.written_at
      and m.written_at > (select min(c.written_at) from outbox_cursor c where c.shard = p_shard)
      and exists (
        select from outbox_cursor c
        where c.shard = p_shard and c.written_at < m.written_at
          and (m.position <= c.low or c.done @> m.position)
      )
    union
    -- The later of two at one position.
    select d.part, d.place, d.written_at, d.position from (
      select m.tableoid as part, m.ctid as place, m.written_at, m.position,
        row_number() over (partition by m.position order by m.written_at, m.id) as rank
      from outbox_message m
      where v_is_old and m.shard = p_shard
    ) d where d.rank > 1
  ), numbered as (
    select part, place, row_number() over (order by written_at, position) as n from moved
  )
  update outbox_message m set position = v_base + h.n
  from numbered h where m.tableoid = h.part and m.ctid = h.place;
  get diagnostics v_count = row_count;
  perform setval(v_sequence, greatest(1, v_base + v_count));
  return v_count;
end
$$;

-- The operator's rebase: of the shards that need it (all of them when p_shards is null), and of no other, so that
-- twice is once; with an entry in the audit log. Gives up on writers that stay:
-- new ones wait behind it meanwhile, and so do heartbeats, which must not cost a relay its lease.
create function relay_rebase(p_shards smallint[], p_actor text, p_reason text)
returns table (shard smallint, moved bigint, incarnation integer)
language plpgsql volatile
set search_path from current
set lock_timeout = '2s'
as $$
declare
  v_shard smallint;
begin
  -- Looked at without a lock first: where all is well, nobody waits.
  for v_shard in
    select s::smallint from outbox_setting o, generate_series(0, o.shard_count - 1) s
    where (p_shards is null or s = any (p_shards))
      and (outbox_is_behind(s::smallint) or outbox_is_set_back(s::smallint, 200))
    order by s
  loop
    -- Two operators at a time: the second finds nothing to do.
    perform pg_advisory_xact_lock(claim_lock_key('outbox'));
    if not (outbox_is_behind(v_shard) or outbox_is_set_back(v_shard, 200)) then
      continue;
    end if;
    shard := v_shard;
    moved := outbox_rebase(v_shard);
    select o.incarnation into incarnation from outbox_setting o;
    insert into audit_entry (actor, action, subject, reason)
    values (p_actor, 'relay.rebase', 'outbox/' || v_shard, p_reason);
    return next;
  end loop;
exception
  when lock_not_available then
    raise exception 'a writer''s transaction has stayed open for 2 s; nothing was changed'
      using errcode = 'DU004', hint = 'End it (pg_stat_activity) and run this again.';
end
$$;

-- Whether a shard's sequence stands behind what is published.
create function outbox_is_behind(p_shard smallint) returns boolean
language sql volatile
set search_path from current
as $$
  select coalesce(pg_sequence_last_value(o.position_sequences[p_shard + 1]), 0) < coalesce((
    select greatest(c.low, coalesce(upper(range_merge(c.done)) - 1, 0))
    from outbox_cursor c where c.shard = p_shard order by c.epoch desc, c.n desc limit 1
  ), 0)
  from outbox_setting o
$$;

-- For people and SQL: where each event is. PENDING: nobody is publishing it; IN_FLIGHT: a live relay owns its shard
-- and has it in hand; PUBLISHED; PARKED: waits behind a failed one or is tried again; DEAD: a dead letter.
create or replace view outbox_status as
select
  m.id, m.topic, m.key, m.type, m.version, m.written_at, m.shard, m.position,
  case
    when p.state = 'dead' then 'DEAD'
    when p.id is not null then 'PARKED'
    when m.position <= coalesce(c.low, 0) or c.done @> m.position then 'PUBLISHED'
    when w.member_id is not null and not exists (select from outbox_pause) then 'IN_FLIGHT'
    else 'PENDING'
  end as state,
  coalesce(p.attempts, 0) as attempts,
  p.last_error,
  -- The first record kept that calls it done; not asked for, it costs nothing.
  case when p.id is null then (
    select min(r.written_at) from outbox_cursor r
    where r.shard = m.shard and (m.position <= r.low or r.done @> m.position)
  ) end as published_at
from outbox_message m
-- Read once, not once per event.
left join (
  select distinct on (shard) shard, low, done from outbox_cursor order by shard, epoch desc, n desc
) c on c.shard = m.shard
left join parked_message p
  on p.side = 'relay' and p.consumer = m.source and p.message_id = m.id::text
left join claim k on k.scope = 'outbox' and k.slot = m.shard
left join claim_member w
  on w.scope = k.scope and w.member_id = k.member_id and w.lease_until > clock_timestamp();

-- Partitions that were taken out of their table to be archived, and what became of them. Detached, a partition
-- costs writers and relays nothing, and nobody can add to it: what is counted is what is dropped.
create table partition_archive (
  -- Of the table that holds the partition until it is dropped.
  name text primary key,
  parent text not null,
  detached_at timestamptz not null default clock_timestamp(),
  -- Raised each time that somebody sets about archiving it: the fencing token of who may drop it.
  token bigint not null default 0,
  lease_until timestamptz not null default clock_timestamp(),
  last_error text,
  dropped_at timestamptz,
  row_count bigint,
  checksum text
);

-- Count and checksum of a partition, or of a table that it was restored into: the sum of the first 64 bits of the
-- SHA-256 of each row's line, whatever the order of the rows and columns.
create function partition_checksum(p_table regclass, out row_count bigint, out checksum text)
language plpgsql volatile
set search_path from current
set timezone = 'UTC'
as $$
begin
  execute format(
    $sql$
      select count(*), coalesce(sum(
        ('x' || encode(substring(sha256(convert_to(to_jsonb(t)::text, 'UTF8')) for 8), 'hex'))::bit(64)::bigint
      ), 0)::text
      from %s t
    $sql$, p_table
  ) into row_count, checksum;
end
$$;

-- Rows of a detached outbox partition after the one named, as JSON lines: at most 1,000, and about 8 MB.
create function partition_lines(p_name text, p_shard smallint, p_position bigint, p_id uuid)
returns table (shard smallint, "position" bigint, id uuid, line text)
language plpgsql volatile
set search_path from current
set timezone = 'UTC'
as $$
begin
  return query execute format(
    $sql$
      select p.shard, p.position, p.id, to_jsonb(p)::text
      from (
        select k.shard, k.position, k.id,
          sum(octet_length(k.data)) over (order by k.shard, k.position, k.id) - octet_length(k.data) as bytes_before
        from (
          select shard, position, id, data from %1$I.%2$I
          where (shard, position, id) > ($1, $2, $3)
          order by shard, position, id limit 1000
        ) k
      ) b
      join %1$I.%2$I p on p.shard = b.shard and p.position = b.position and p.id = b.id
      where b.bytes_before < 8388608
      order by p.shard, p.position, p.id
    $sql$, current_schema(), p_name
  ) using p_shard, p_position, p_id;
end
$$;

-- Takes a partition out of its table if its moment has come: dropped, or, to be archived, detached. Parent and
-- child are locked first and looked at in a statement after: a check before the lock dropped a row that a waiting
-- writer had just committed. The default partition is followed by an empty one.
create function partition_retire(
  p_table text, p_partition text, p_blocked_by text, p_is_archived boolean
) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_is_rest constant boolean := p_partition = p_table || '_rest';
  v_is_needed boolean;
  v_is_empty boolean;
  v_name text := p_partition;
begin
  set local lock_timeout = '50ms';
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_table);
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_partition);
  execute format(p_blocked_by, current_schema(), p_partition) into v_is_needed;
  if v_is_needed then
    return 'needed';
  end if;
  execute format('select not exists (select from %I.%I)', current_schema(), p_partition) into v_is_empty;
  if p_is_archived and not v_is_empty then
    execute format('alter table %1$I.%2$I detach partition %1$I.%3$I', current_schema(), p_table, p_partition);
    if v_is_rest then
      v_name := p_partition || to_char(clock_timestamp() at time zone 'UTC', '_YYYYMMDD_HH24MISSUS');
      execute format('alter table %I.%I rename to %I', current_schema(), p_partition, v_name);
    end if;
    insert into partition_archive (name, parent) values (v_name, p_table)
    -- The same day once more: made again, by hand, after it had been archived.
    on conflict (name) do update set detached_at = clock_timestamp(), dropped_at = null, last_error = null;
  else
    execute format('drop table %I.%I', current_schema(), p_partition);
  end if;
  if v_is_rest then
    execute format('create table %1$I.%2$I partition of %1$I.%3$I default', current_schema(), p_partition, p_table);
  end if;
  return case when p_is_archived and not v_is_empty then 'detached' else 'dropped' end;
exception
  when lock_not_available then
    return 'busy';
end
$$;

-- Drops a detached partition if the archive holds the same count and checksum, and if nobody else has set about it
-- since. What is compared is what is dropped: the lock is taken first (nobody but us uses the table any more).
create function partition_archived(p_name text, p_token bigint, p_count bigint, p_checksum text)
returns table (outcome text, row_count bigint, checksum text)
language plpgsql volatile
set search_path from current
as $$
begin
  perform from partition_archive a where a.name = p_name and a.token = p_token and a.dropped_at is null for update;
  if not found then
    return query select 'fenced'::text, null::bigint, null::text;
    return;
  end if;
  execute format('lock table only %I.%I in access exclusive mode', current_schema(), p_name);
  select c.row_count, c.checksum into row_count, checksum
  from partition_checksum(format('%I.%I', current_schema(), p_name)::regclass) c;
  if row_count is distinct from p_count or checksum is distinct from p_checksum then
    outcome := 'different';
  else
    execute format('drop table %I.%I', current_schema(), p_name);
    update partition_archive a set dropped_at = clock_timestamp(), last_error = null,
      row_count = partition_archived.row_count, checksum = partition_archived.checksum
    where a.name = p_name;
    outcome := 'dropped';
  end if;
  return next;
end
$$;
