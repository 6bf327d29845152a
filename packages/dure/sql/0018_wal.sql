-- The outbox by the write-ahead log: a replication slot brings committed events to the relay, from the rows of
-- outbox_message, or from messages that stand in the log alone ("tableless").

set local search_path to :"schema", pg_temp;

-- Whether events may stand in the log alone. 'lost': they could, and the slot that held the log for them is
-- gone; nothing is written so until an operator has seen it.
alter table outbox_setting add column tableless text not null default 'off'
  check (tableless in ('off', 'on', 'lost'));

-- Slots have one name space for the whole server, so theirs names the database.
create function outbox_wal_slot() returns text
language sql stable
set search_path from current
as $$
  select left('dure_' || d.oid || '_' || regexp_replace(lower(current_schema()), '[^a-z0-9_]', '_', 'g'), 63)
  from pg_database d where d.datname = current_database()
$$;

create function outbox_wal_publication() returns text
language sql stable
set search_path from current
as $$
  select left('dure_outbox_' || regexp_replace(lower(current_schema()), '[^a-z0-9_]', '_', 'g'), 63)
$$;

-- Announces the outbox's rows to readers of the log, once. The caller owns the table and may create in the database.
create function outbox_wal_publish() returns void
language plpgsql volatile
set search_path from current
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('dure.wal:' || current_schema(), 0));
  if not exists (select from pg_publication where pubname = outbox_wal_publication()) then
    execute format(
      'create publication %I for table %I.outbox_message with (publish = ''insert'', publish_via_partition_root = true)',
      outbox_wal_publication(), current_schema()
    );
  end if;
end
$$;

-- Lets events be written into the log alone, and back. Refused while relays live that look into the table: to
-- them an event that is not there was rolled back. Returns what it was before.
create function outbox_set_tableless(p_state text) returns text
language plpgsql volatile
set search_path from current
as $$
declare
  v_before text;
begin
  select tableless into strict v_before from outbox_setting for update;
  if p_state = 'on' and v_before = 'off' and exists (
    select from claim_member where scope = 'outbox' and lease_until > clock_timestamp()
  ) then
    raise exception 'tableless events cannot be switched on while relays of this outbox are at work'
      using errcode = 'DU010', hint = 'Stop every process that relays, then start those that relay by the log.';
  end if;
  update outbox_setting set tableless = p_state where tableless <> p_state;
  return v_before;
end
$$;

-- Writes events into the log, inside the caller's transaction and only there, and nowhere else. Locks and
-- positions are those of outbox_append; a link to the stream's previous event there is none.
create function outbox_emit(p_source text, p_events jsonb, p_is_in_transaction boolean) returns integer
language plpgsql volatile
set search_path from current
set plan_cache_mode = force_generic_plan
as $$
declare
  v_state text;
  v_incarnation integer;
  v_count integer;
begin
  if not p_is_in_transaction and pg_current_xact_id_if_assigned() is null then
    return -1;
  end if;
  select tableless, incarnation into strict v_state, v_incarnation from outbox_setting;
  if v_state <> 'on' then
    raise exception 'no slot keeps the write-ahead log for events that stand there alone (tableless: %)', v_state
      using errcode = 'DU011',
        hint = case v_state when 'lost' then 'Its slot was lost: run "dure relay resync", then events are taken again.'
          else 'Start a process that relays by the log (postgresStore: wal) first.' end;
  end if;
  perform pg_advisory_xact_lock(outbox_lock_namespace() + l.shard, l.lock)
  from (
    select distinct
      ((h.hash & 9223372036854775807) % outbox_shard_count())::integer as shard,
      ((h.hash >> 24) & 2147483647)::integer as lock
    from (
      select hashtextextended((e ->> 'topic') || chr(31) || (e ->> 'key'), 0) as hash
      from jsonb_array_elements(p_events) e
    ) h
    order by 1, 2 limit 1001
  ) l;
  get diagnostics v_count = row_count;
  if v_count > 1000 then
    raise exception 'a transaction may emit for at most 1,000 keys, this one has more'
      using errcode = 'DU002', hint = 'Split the work: each lock takes a place in the shared lock table.';
  end if;
  perform pg_logical_emit_message(true, outbox_wal_slot(), json_build_object(
    'position', nextval((outbox_sequences())[(e.key_hash & 9223372036854775807) % outbox_shard_count() + 1])::text,
    'shard', (e.key_hash & 9223372036854775807) % outbox_shard_count(),
    'id', e.id, 'source', p_source, 'topic', e.topic, 'key', e.key, 'type', e.type, 'version', e.version,
    'data', e.data, 'context', e.context, 'written_at', clock_timestamp(), 'incarnation', v_incarnation
  )::text)
  from (
    select r.*, hashtextextended(r.topic || chr(31) || r.key, 0) as key_hash
    from rows from (jsonb_to_recordset(p_events) as (
      id uuid, topic text, key text, type text, version smallint, data text, context jsonb
    )) with ordinality as r (id, topic, key, type, version, data, context, n)
    order by r.n
  ) e;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

-- As before, and whether events may stand in the log alone.
drop function outbox_positions();
create function outbox_positions()
returns table (last bigint, incarnation bigint, is_paused boolean, tableless text)
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
begin
  return query
    select coalesce(pg_sequence_last_value(p.sequence), 0), s.incarnation::bigint,
      exists (select from outbox_pause), s.tableless
    from outbox_setting s, unnest(s.position_sequences) with ordinality as p (sequence, n)
    order by p.n;
end
$$;

-- How the slot stands, for people and for alarms. No row: there is none.
create view outbox_wal as
select
  s.slot_name, s.active_pid, s.wal_status, s.safe_wal_size,
  s.confirmed_flush_lsn,
  pg_wal_lsn_diff(
    case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end, s.confirmed_flush_lsn
  )::bigint as lag_bytes,
  (select tableless from outbox_setting) as tableless
from pg_replication_slots s
where s.slot_name = outbox_wal_slot();

-- After the slot was lost and made anew: says per shard how many positions nobody can account for (drawn, not
-- recorded as done, and not in the table: events that stood in the lost log alone, or transactions that rolled
-- back), and lets events be written into the log again. With an entry in the audit log.
create function outbox_wal_resync(p_actor text, p_reason text)
returns table (shard smallint, missing bigint)
language plpgsql volatile
set search_path from current
as $$
#variable_conflict use_column
declare
  v_state text;
begin
  select tableless into strict v_state from outbox_setting for update;
  return query
    select s.shard, coalesce(sum(r.until - r.first + 1 - (
      select count(*) from outbox_message m where m.shard = s.shard and m.position between r.first and r.until
    )), 0)::bigint
    from (
      select (n - 1)::smallint as shard, coalesce(pg_sequence_last_value(sequence), 0) as last
      from outbox_setting, unnest(position_sequences) with ordinality as u (sequence, n)
    ) s
    left join lateral (
      select low, done from outbox_cursor where shard = s.shard order by epoch desc, n desc limit 1
    ) c on true
    left join lateral (
      select o.first, least(o.last, s.last) as until from outbox_open_ranges(c.low, c.done) o where o.first <= s.last
    ) r on true
    group by s.shard order by s.shard;
  if v_state = 'lost' then
    update outbox_setting set tableless = 'on';
  end if;
  insert into audit_entry (actor, action, subject, reason) values (p_actor, 'relay.resync', 'outbox', p_reason);
end
$$;
