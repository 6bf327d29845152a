-- One payment per order. The row is the intent: it is committed before the provider is called, and the
-- provider's answer is recorded in a later transaction. What happens in between is found again by it.

create table payments (
  id text primary key default gen_random_uuid()::text,
  -- Pages go by it, byte by byte, on every server alike.
  order_id text collate "C" not null unique,
  saga_id text not null,
  user_id text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  order_items jsonb not null,
  payment_type text not null default 'CARD' check (payment_type in ('CARD')),
  status text not null check (status in ('PROCESSING', 'COMPLETED', 'FAILED', 'REFUNDING', 'REFUNDED')),
  -- What the provider is still to be asked for: `cancel` gives up a charge of unknown outcome.
  pending_operation text check (pending_operation in ('charge', 'cancel', 'refund')),
  pending_since timestamptz not null default clock_timestamp(),
  -- The charge's key at the provider; the refund's is derived from the same saga.
  idempotency_key text not null unique,
  -- A secret: kept only while the card may still be charged.
  card_token text,
  provider_tx_id text,
  reason text,
  refund_key text not null,
  refund_tx_id text,
  -- What the provider says it gave back; 0 when a canceled charge turned out never to have happened.
  refunded_amount bigint check (refunded_amount >= 0),
  -- What the next event of this payment belongs to: ids and trace of the message that caused it.
  cause jsonb not null,
  attempts integer not null default 0,
  next_attempt_at timestamptz not null default clock_timestamp(),
  claimed_until timestamptz,
  claim_token uuid,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check ((status = 'PROCESSING') = (pending_operation is not null and pending_operation in ('charge', 'cancel'))),
  check ((status = 'REFUNDING') = (pending_operation is not null and pending_operation = 'refund')),
  check ((card_token is not null) = (pending_operation is not null and pending_operation = 'charge')),
  check (reason is not null or status = 'COMPLETED' or pending_operation = 'charge')
);

comment on table payments is 'One row per order: what was asked of the card, and what became of it';
comment on column payments.card_token is 'Null as soon as the card will not be charged any more';

create index payments_due on payments (next_attempt_at) where pending_operation is not null;
comment on index payments_due is
  'payment:claim, payment:next-due, payment:waiting, payment:oldest-waiting';

-- Charges that were compensated before they were asked for. The barrier refuses them; this remembers why.
create table refused_charges (
  idempotency_key text primary key,
  order_id text not null,
  reason text not null,
  created_at timestamptz not null default clock_timestamp()
);

comment on table refused_charges is 'Charges whose compensation came first';

-- Every change of a payment, written with the change. Rows are never changed.
create table payment_history (
  id bigint generated always as identity primary key,
  order_id text not null,
  what text not null,
  is_compensation boolean not null default false,
  detail jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp()
);

comment on table payment_history is 'What happened to a payment, for the order''s timeline';

create index payment_history_order on payment_history (order_id, id);
comment on index payment_history_order is 'payment:timeline';
