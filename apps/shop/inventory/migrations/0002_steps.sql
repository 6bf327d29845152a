-- What the orchestrated checkout needs beyond the choreographed one: reservations that run out, and
-- pieces of a sold order that come back.

alter table stock_reservations
  -- Only its saga asks before it sells, so only its reservations may end by themselves.
  add column can_expire boolean not null default false,
  -- Sold pieces that came back; the row stays as what was sold.
  add column restocked_quantity bigint not null default 0,
  add constraint stock_reservations_restocked_check
    check (restocked_quantity between 0 and quantity and (restocked_quantity = 0 or status = 'CONFIRMED'));

create index stock_reservations_expiring on stock_reservations (expired_at)
  where status = 'RESERVED' and can_expire;
comment on index stock_reservations_expiring is 'inventory:expiry.due';

alter table stock_history
  -- The step's key, when it came over HTTP.
  add column step_key text,
  add column fencing_token text,
  add column return_id text,
  drop constraint stock_history_what_check,
  add constraint stock_history_what_check check (
    what in ('RESERVED', 'REFUSED', 'CONFIRMED', 'RELEASED', 'CONFIRM_REFUSED', 'UNCONFIRMED',
      'RESTOCKED', 'EXPIRED', 'RENEWED')
  );
