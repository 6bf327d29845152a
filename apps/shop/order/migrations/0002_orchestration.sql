-- Orchestrated checkouts, orders that are canceled, goods that come back.

-- What has been taken back of a line, or is being taken back.
alter table order_items add column returned_quantity integer not null default 0
  check (returned_quantity between 0 and quantity);

create index order_items_product on order_items (product_id, order_id);
comment on index order_items_product is 'order:return.purchases';

create index orders_unbegun on orders (created_at)
  where status = 'PENDING' and mode = 'orchestration';
comment on index orders_unbegun is 'order:order.unbegun';

-- Who wanted an order canceled. One that could not be stopped any more is undone once it is completed.
create table order_cancellations (
  order_id text primary key references orders (id),
  requested_by text not null,
  -- The saga that undoes a completed order; null while its checkout goes on.
  saga_id text unique,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);

-- Answers to clients' keys, beside those of POST /orders, which the orders themselves hold.
create table answered_requests (
  user_id text not null,
  route text not null,
  idempotency_key text not null,
  request_fingerprint text not null,
  -- Null only inside the transaction that takes the key.
  status integer,
  body json,
  created_at timestamptz not null default clock_timestamp(),
  primary key (user_id, route, idempotency_key)
);

comment on column answered_requests.user_id is 'Who asked: a merchant may return goods of others';

-- A merchant's key and the customer's own may be the same.
alter table returns drop column idempotency_key, drop column request_fingerprint;

create index returns_open on returns (id) where status <> 'COMPLETED';
comment on index returns_open is 'order:reconciliation.orders, order:reconciliation.pieces';

-- Which purchases the returned goods are taken from.
create table return_allocations (
  id bigint generated always as identity primary key,
  return_id text not null references returns (id),
  order_id text not null references orders (id),
  line integer not null,
  product_id text not null,
  quantity integer not null check (quantity > 0),
  -- As it was paid.
  unit_price bigint not null check (unit_price > 0),
  created_at timestamptz not null default clock_timestamp(),
  unique (return_id, order_id, line),
  foreign key (order_id, line) references order_items (order_id, line)
);

create index return_allocations_order on return_allocations (order_id);
comment on index return_allocations_order is 'order:return.of-order, order:reconciliation.orders';
