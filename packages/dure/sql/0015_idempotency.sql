-- Requests that are carried out once: the answer is kept beside the rows of the business. See docs/adr/0023-idempotency-keys.md.

set local search_path to :"schema", pg_temp;

create table idempotency_record (
  -- The first 128 bits of a digest of scope and key.
  id uuid primary key,
  -- The first 128 bits of a digest of what makes it this request: method, route, principal, content.
  fingerprint uuid not null,
  -- Whose key it is: another principal's same key is another record.
  scope text not null,
  key text not null,
  route text not null,
  status smallint not null,
  -- Pairs of name and value, in order.
  headers json not null,
  body bytea not null,
  recorded_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);

create index idempotency_record_expires on idempotency_record (expires_at);
comment on index idempotency_record_expires is 'maintenance.prune-keys: the records whose time is over, the oldest first';

-- Bounds the transaction that it is run in: a dead or slow owner's ends at its lease, and leaves nothing behind. What
-- was set tighter stays. Before PostgreSQL 17 only each statement and each pause is bounded, and the end is checked
-- when the answer is recorded.
create function idempotency_bound(
  p_ms integer, p_is_whole boolean default current_setting('server_version_num')::integer >= 170000
) returns void
language plpgsql volatile
as $$
declare
  v_name text;
  v_limit interval;
begin
  foreach v_name in array case
    when p_is_whole then array['transaction_timeout']
    else array['statement_timeout', 'idle_in_transaction_session_timeout']
  end loop
    v_limit := current_setting(v_name)::interval;
    continue when v_limit > interval '0' and v_limit <= p_ms * interval '1 ms';
    -- A clock that runs is not wound up again by a new limit: only 0 stops it.
    perform set_config(v_name, '0', true);
    perform set_config(v_name, p_ms::text, true);
  end loop;
end
$$;

-- Takes the key until the transaction's end, or says who has it: `claimed`, `replayed` with the answer, `in_flight`
-- (the same request is running), `mismatch` (the key belongs to another request, running or done). Never waits for
-- another transaction. Each read is a statement of its own and sees what was committed before it.
create function idempotency_claim(p_id uuid, p_fingerprint uuid, p_lock bigint, p_request_lock bigint, p_lease_ms integer)
returns json
language plpgsql volatile
set search_path from current
as $$
declare
  v_record record;
  v_has_request_lock boolean := false;
  v_has_lock boolean := false;
begin
  if current_setting('transaction_timeout', true) = '0' then
    -- As it nearly always is, in a hurry.
    perform set_config('transaction_timeout', p_lease_ms::text, true);
  else
    perform idempotency_bound(p_lease_ms);
  end if;
  for v_round in 1 .. 6 loop
    select r.fingerprint, r.status, r.headers, r.body, r.expires_at <= clock_timestamp() as is_expired
    into v_record from idempotency_record r where r.id = p_id;
    if found and not v_record.is_expired then
      if v_record.fingerprint <> p_fingerprint then
        return '["mismatch"]';
      end if;
      return json_build_array('replayed', v_record.status, v_record.headers, encode(v_record.body, 'base64'));
    elsif v_has_lock then
      -- Its time is over, and maintenance has not come by yet.
      if found then
        delete from idempotency_record r where r.id = p_id;
      end if;
      return '["claimed"]';
    end if;
    if not v_has_request_lock then
      v_has_request_lock := pg_try_advisory_xact_lock(p_request_lock);
      if not v_has_request_lock then
        return '["in_flight"]';
      end if;
    end if;
    v_has_lock := pg_try_advisory_xact_lock(p_lock);
    -- The locks of one transaction are let go one after the other: one that has just rolled back, with this very
    -- request, may still hold the second. Only who keeps it for longer is running another request.
    if not v_has_lock and v_round > 1 then
      perform pg_sleep(0.002);
    end if;
  end loop;
  return '["mismatch"]';
end
$$;

-- Keeps the answer, in the transaction that claimed the key, on the way to its COMMIT. That there is none yet is
-- certain under the claim's lock; were it not, the unique key would undo the transaction.
create function idempotency_keep(
  p_id uuid, p_fingerprint uuid, p_scope text, p_key text, p_route text,
  p_status smallint, p_headers text, p_body text, p_keep_ms bigint, p_lease_ms integer
) returns void
language plpgsql volatile
set search_path from current
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  if v_now > transaction_timestamp() + p_lease_ms * interval '1 ms' then
    raise exception 'a keyed request took longer than its lease of % ms; nothing of it was committed', p_lease_ms
      using errcode = 'DU005';
  end if;
  insert into idempotency_record (
    id, fingerprint, scope, key, route, status, headers, body, recorded_at, expires_at
  ) values (
    p_id, p_fingerprint, p_scope, p_key, p_route, p_status, p_headers::json, decode(p_body, 'base64'),
    v_now, v_now + p_keep_ms * interval '1 ms'
  );
end
$$;
