-- The outside truth about money. `operation` answers repeated keys, `ledger_entry` says what moved,
-- `compensation` refuses what is undone, be it before it ever happened.

create table operation (
  key text primary key,
  kind text not null check (kind in ('authorize', 'capture', 'void', 'charge', 'refund')),
  fingerprint text not null,
  order_id text not null,
  -- What was asked for; what moved is in the ledger. Null where the request names no amount.
  amount_asked bigint check (amount_asked > 0),
  amount_moved bigint not null check (amount_moved >= 0),
  -- The authorization of a capture, or what a void or refund undoes; it may never have come.
  forward_key text,
  outcome text not null check (outcome in ('approved', 'declined')),
  reason text check (reason in ('PAYMENT_DECLINED', 'INSUFFICIENT_FUNDS')),
  transaction_id text not null unique,
  created_at timestamptz not null default clock_timestamp(),
  check ((outcome = 'declined') = (reason is not null)),
  check (outcome = 'approved' or amount_moved = 0)
);

comment on table operation is 'One row per idempotency key: what was asked and what was answered';

create index operation_forward_key on operation (forward_key) where forward_key is not null;
comment on index operation_forward_key is 'provider:operation.history: what refers to a forward key';

create table compensation (
  forward_key text primary key,
  compensated_by text not null,
  created_at timestamptz not null default clock_timestamp()
);

comment on table compensation is 'Forward keys that are undone in full; also those that never came';

create table ledger_entry (
  id bigint generated always as identity primary key,
  order_id text not null,
  operation text not null check (operation in ('authorize', 'capture', 'void', 'charge', 'refund')),
  amount bigint not null check (amount > 0),
  -- One movement per key, whatever the code above believes.
  key text not null unique references operation (key),
  created_at timestamptz not null default clock_timestamp()
);

comment on table ledger_entry is 'Every movement of money, in order; rows are never changed';

create index ledger_entry_order on ledger_entry (order_id, id);
comment on index ledger_entry_order is 'provider:ledger.of-order';

create function refuse_ledger_change() returns trigger language plpgsql as $$
begin
  raise exception 'the ledger is append-only';
end
$$;

create trigger ledger_entry_append_only
  before update or delete or truncate on ledger_entry
  for each statement execute function refuse_ledger_change();
