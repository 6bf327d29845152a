-- What was sent to whom, or could not be. Nothing here decides about an order.

create table notifications (
  id bigint generated always as identity primary key,
  order_id text collate "C" not null,
  recipient text not null,
  channel text not null check (channel in ('SMS', 'EMAIL')),
  template text not null check (template in ('ORDER_COMPLETED', 'ORDER_CANCELED')),
  body text not null,
  status text not null check (status in ('PENDING', 'SENT', 'DEAD')),
  message_id text not null,
  attempt_count integer not null default 0,
  last_error text,
  -- It rests until then; after a failure for a while.
  due_at timestamptz not null default clock_timestamp(),
  -- Until then it belongs to whoever took it. Null: to nobody.
  claimed_until timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- An event that comes twice notifies once.
  unique (message_id, channel)
);

comment on table notifications is 'One row per event and channel';

create index notifications_due on notifications (due_at, id) where status = 'PENDING';
comment on index notifications_due is 'notification:notification.claim';

create index notifications_unsent on notifications (status) where status <> 'SENT';
comment on index notifications_unsent is 'notification:notification.count';

create index notifications_order on notifications (order_id, id);
comment on index notifications_order is 'notification:notification.of-order';
