-- Where every piece of every product is, for whom, and how it came here. Ids compare by bytes
-- ("C"), so that pages of different services come in one order.

create table inventory (
  id bigint generated always as identity primary key,
  product_id text collate "C" not null unique,
  product_name text not null,
  available_quantity bigint not null default 0 check (available_quantity >= 0),
  reserved_quantity bigint not null default 0 check (reserved_quantity >= 0),
  sold_quantity bigint not null default 0 check (sold_quantity >= 0),
  version bigint not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
)
-- Stock rows are updated all the time and no index holds a quantity: room for HOT updates.
with (fillfactor = 50);

comment on table inventory is 'One row per product; available + reserved + sold is the sum of stock_adjustments';

create table stock_reservations (
  id bigint generated always as identity primary key,
  order_id text collate "C" not null,
  product_id text collate "C" not null references inventory (product_id),
  quantity bigint not null check (quantity > 0),
  status text not null check (status in ('RESERVED', 'CONFIRMED', 'RELEASED')),
  -- The semantic lock: saga_id owns the pieces from RESERVING on, until it is AVAILABLE again.
  reservation_status text not null
    check (reservation_status in ('RESERVING', 'RESERVED', 'AVAILABLE')),
  saga_id text not null,
  lock_acquired_at timestamptz,
  idempotency_key text not null,
  expired_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (idempotency_key, product_id),
  check ((status = 'RESERVED') = (reservation_status <> 'AVAILABLE'))
);

comment on table stock_reservations is 'One row per order and product that was set aside';

create index stock_reservations_order on stock_reservations (order_id, product_id);
comment on index stock_reservations_order is 'inventory:reservation.page';

create index stock_reservations_expiry on stock_reservations (expired_at) where status = 'RESERVED';
comment on index stock_reservations_expiry is 'inventory:reservation.count-expired';

create table stock_adjustments (
  id bigint generated always as identity primary key,
  product_id text collate "C" not null references inventory (product_id),
  -- By how much the product's total changed.
  quantity bigint not null check (quantity <> 0),
  adjusted_by text not null,
  created_at timestamptz not null default clock_timestamp()
);

comment on table stock_adjustments is 'The journal of every change of a total; rows are never changed';

create index stock_adjustments_product on stock_adjustments (product_id) include (quantity);
comment on index stock_adjustments_product is 'inventory:stock.page: the sum by product';

create table stock_history (
  id bigint generated always as identity primary key,
  order_id text collate "C" not null,
  saga_id text not null,
  what text not null check (what in ('RESERVED', 'REFUSED', 'CONFIRMED', 'RELEASED')),
  -- Of what was refused or released: why, and for want of which product.
  reason text,
  product_id text,
  created_at timestamptz not null default clock_timestamp()
);

comment on table stock_history is 'What inventory did for each order, for its timeline';

create index stock_history_order on stock_history (order_id, id);
comment on index stock_history_order is 'inventory:history.of-order';
