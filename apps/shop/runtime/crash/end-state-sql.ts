/**
 * What a checkout leaves behind, by database: each statement answers rows without ids and times. Nothing
 * here is read by the shop.
 */
export const endState: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  order: {
    orders: "select status, stage, reason, amount::int, mode from orders order by number",
    history: "select status, stage, reason from order_status_history order by id",
    cancellations: "select saga_id is not null as has_saga from order_cancellations",
    sagas: "select definition, status from dure.saga_instance order by definition",
    "live sagas": "select count(*)::int as count from dure.saga_live",
    signals: "select count(*)::int as count from dure.saga_signal",
  },
  payment: {
    payments: `select flow, status, amount::int, authorized_amount::int, captured_amount::int,
      charged_amount::int, voided_amount::int, refunded_amount::int, refund_claimed::int from payments`,
    operations: `select kind, state, moved_amount::int, is_compensation from payment_operation
      order by kind`,
    history: "select what, is_compensation from payment_history order by what",
  },
  inventory: {
    stock: `select product_id, available_quantity::int as available, reserved_quantity::int as reserved,
      sold_quantity::int as sold from inventory order by product_id`,
    reservations: `select product_id, quantity::int, status, restocked_quantity::int as restocked
      from stock_reservations order by product_id`,
    locks: "select state, count(*)::int as count from dure.semantic_lock group by 1 order by 1",
    history: "select what, reason from stock_history order by what",
  },
  delivery: {
    deliveries: "select status, reason from deliveries",
    parcels: "select outcome from carrier_bookings",
  },
  provider: {
    operations: "select kind, outcome, amount_moved::int from operation order by kind",
    ledger: "select operation, amount::int from ledger_entry order by id",
    compensations: "select count(*)::int as count from compensation",
  },
};

/** Of each service with an outbox and an inbox. */
export const messagingState: Readonly<Record<string, string>> = {
  told: "select type, count(*)::int as count from dure.outbox_message group by 1 order by 1",
  parked: "select type, state from dure.parked_message order by 1",
};

/** What is under way, by database: each statement answers how much of it there is. */
export const underWay: Readonly<Record<string, string>> = {
  order: `select (select count(*) from dure.saga_live) +
    (select count(*) from orders where status not in ('COMPLETED', 'CANCELED')) as count`,
  payment: "select count(*) from payment_operation where state = 'PENDING'",
  inventory: "select count(*) from stock_reservations where status = 'RESERVED'",
  delivery: "select count(*) from deliveries where status = 'PENDING'",
};

/** Events that no relay has published. */
export const unpublished = "select count(*) from dure.outbox_status where state <> 'PUBLISHED'";

/** What the order, the money and the goods have come to. */
export const story: Readonly<Record<string, string>> = {
  order: "select string_agg(status, ',' order by number) as told from orders",
  provider: `select string_agg(operation || ' ' || amount, ',' order by id) as told from ledger_entry`,
  inventory: `select concat_ws(' ', available_quantity, reserved_quantity, sold_quantity) as told
    from inventory`,
  delivery: `select string_agg(status, ',') as told from deliveries`,
};
