-- Orders, how their checkout goes, and goods that come back.

create table orders (
  id text primary key,
  -- Newest first without ties; the cursor of a page is one of these.
  number bigint generated always as identity unique,
  user_id text not null,
  amount bigint not null check (amount > 0),
  currency text not null,
  mode text not null check (mode in ('orchestration', 'choreography')),
  status text not null default 'PENDING' check (status in
    ('PENDING', 'PROCESSING', 'COMPLETED', 'CANCELING', 'CANCELED', 'NEEDS_ATTENTION')),
  stage text not null default 'ACCEPTED' check (stage in
    ('ACCEPTED', 'STOCK_RESERVED', 'PAYMENT_AUTHORIZED', 'PAYMENT_CAPTURED', 'PAYMENT_CHARGED',
     'DELIVERY_STARTED')),
  reason text,
  version integer not null default 1,
  idempotency_key text not null,
  request_fingerprint text not null,
  saga_id text not null unique,
  line_count integer not null check (line_count > 0),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (user_id, idempotency_key),
  check (status <> 'CANCELED' or reason is not null)
);

comment on column orders.request_fingerprint is 'Of the body: a key comes with one body only';

create index orders_user on orders (user_id, number desc);
comment on index orders_user is 'order:order.list of one user';
create index orders_status on orders (status, number desc);
comment on index orders_status is 'order:order.list by status, order:reconciliation.status-counts';

create table order_items (
  id bigint generated always as identity primary key,
  order_id text not null references orders (id),
  line integer not null,
  product_id text not null,
  quantity integer not null check (quantity > 0),
  unit_price bigint not null check (unit_price > 0),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (order_id, line)
);

create table order_status_history (
  id bigint generated always as identity primary key,
  order_id text not null references orders (id),
  status text not null,
  stage text not null,
  reason text,
  created_at timestamptz not null default clock_timestamp()
);

create index order_status_history_order on order_status_history (order_id, id);
comment on index order_status_history_order is 'order:history.of-orders';

-- A checkout as a saga instance. A choreographed one is followed by the events of the others.
create table order_sagas (
  saga_id text primary key,
  order_id text not null unique references orders (id),
  state text not null default 'RUNNING' check (state in
    ('RUNNING', 'COMPENSATING', 'COMPLETED', 'COMPENSATED')),
  -- The services whose turn it is, separated by commas; null at the end.
  waiting_for text,
  deadline_at timestamptz,
  -- When the watch found the deadline passed; null again with the next progress.
  overdue_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  check ((state in ('RUNNING', 'COMPENSATING')) = (waiting_for is not null))
);

create index order_sagas_deadline on order_sagas (deadline_at)
  where state in ('RUNNING', 'COMPENSATING') and overdue_at is null;
comment on index order_sagas_deadline is 'order:saga.mark-overdue';
create index order_sagas_overdue on order_sagas (waiting_for)
  where state in ('RUNNING', 'COMPENSATING') and overdue_at is not null;
comment on index order_sagas_overdue is 'order:saga.count-overdue';

-- What the other services told about a checkout, in whatever order it came.
create table order_saga_events (
  saga_id text not null references order_sagas (saga_id),
  type text not null,
  reason text,
  details jsonb not null default '{}',
  message_id text not null,
  occurred_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (saga_id, type)
);

create table returns (
  id text primary key,
  user_id text not null,
  status text not null default 'PENDING' check (status in
    ('PENDING', 'COMPLETED', 'NEEDS_ATTENTION')),
  refund bigint not null check (refund >= 0),
  idempotency_key text not null,
  request_fingerprint text not null,
  saga_id text not null unique,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (user_id, idempotency_key)
);

create table return_items (
  id bigint generated always as identity primary key,
  return_id text not null references returns (id),
  line integer not null,
  product_id text not null,
  quantity integer not null check (quantity > 0),
  -- Only noted: what is refunded is what was paid.
  unit_price bigint check (unit_price > 0),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (return_id, line)
);
