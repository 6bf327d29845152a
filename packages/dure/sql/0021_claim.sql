-- A claim of a key with fewer steps. See docs/adr/0034-prepared-claims.md.

set local search_path to :"schema", pg_temp;

-- Takes the key until the transaction's end, or says who has it: `claimed`, `replayed` with the answer, `in_flight`
-- (the same request is running), `mismatch` (the key belongs to another request, running or done). Never waits for
-- another transaction. The locks come first, so that one look is enough: what it sees under them is certain, and what
-- is recorded needs none.
create or replace function idempotency_claim(p_id uuid, p_fingerprint uuid, p_lock bigint, p_request_lock bigint, p_lease_ms integer)
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
    if not v_has_request_lock then
      v_has_request_lock := pg_try_advisory_xact_lock(p_request_lock);
    end if;
    if v_has_request_lock then
      v_has_lock := pg_try_advisory_xact_lock(p_lock);
    end if;
    -- A statement of its own: it sees what was committed before the locks were asked for.
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
    elsif not v_has_request_lock then
      return '["in_flight"]';
    end if;
    -- The locks of one transaction are let go one after the other: one that has just rolled back, with this very
    -- request, may still hold the second. Only who keeps it for longer is running another request.
    perform pg_sleep(0.002);
  end loop;
  return '["mismatch"]';
end
$$;
