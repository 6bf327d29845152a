-- Deliveries, and beside them the fake carrier's own book. Ids compare by bytes ("C"), so that
-- pages of different services come in one order.

create table deliveries (
  id bigint generated always as identity primary key,
  order_id text collate "C" not null unique,
  delivery_id text not null unique,
  saga_id text not null,
  user_id text not null,
  idempotency_key text not null unique,
  status text not null check (status in ('PENDING', 'STARTED', 'REFUSED', 'STOPPED')),
  reason text,
  attempt_count integer not null default 0,
  last_error text,
  -- It rests until then; after a failure for a while.
  due_at timestamptz not null default clock_timestamp(),
  -- Until then it belongs to whoever took it. Null: to nobody.
  claimed_until timestamptz,
  -- What caused it, for the events that it causes.
  correlation_id text,
  causation_id text,
  traceparent text,
  tracestate text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);

comment on table deliveries is 'One row per order that is to be delivered';

create index deliveries_due on deliveries (due_at, id) where status = 'PENDING';
comment on index deliveries_due is 'delivery:delivery.claim';

create table carrier_bookings (
  idempotency_key text primary key,
  order_id text not null,
  outcome text not null check (outcome in ('accepted', 'refused')),
  created_at timestamptz not null default clock_timestamp()
);

comment on table carrier_bookings is 'What the fake carrier decided, once per key';
