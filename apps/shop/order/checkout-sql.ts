/**
 * Holds the order for this transaction: two events of one order take turns. Rows that refer to the
 * order may be added meanwhile.
 */
export const lockOrder = `
/* order:checkout.lock */
select id, user_id, amount, currency, mode, status, stage, reason, saga_id
from orders where id = $1 for no key update`;

/** Keeps what was heard; no row comes back when it was heard before. */
export const insertEvent = `
/* order:saga-event.insert */
insert into order_saga_events (saga_id, type, reason, details, message_id, occurred_at)
values ($1, $2, $3, $4, $5, $6)
on conflict (saga_id, type) do nothing
returning type`;

/** All that was heard, in the order in which it came. */
export const listEvents = `
/* order:saga-event.of-saga */
select type, reason, details, occurred_at, created_at
from order_saga_events where saga_id = $1 order by created_at, type`;

/** Moves an order, if it may be moved from where it is. */
export const moveOrder = `
/* order:order.move */
update orders set status = $2, stage = $3, reason = $4, version = version + 1,
  updated_at = clock_timestamp()
where id = $1 and status = any($5)
returning version`;

/** An orchestrated checkout has come that far ($2); a stage that was reached before stays. */
export const advanceOrder = `
/* order:order.advance */
with moved as (
  update orders set status = 'PROCESSING', stage = $2, version = version + 1,
    updated_at = clock_timestamp()
  where id = $1 and status in ('PENDING', 'PROCESSING', 'NEEDS_ATTENTION') and stage = any($3)
  returning id, status, stage, reason
)
insert into order_status_history (order_id, status, stage, reason)
select id, status, stage, reason from moved`;

/** An orchestrated checkout is being undone; an order that is known to be stays. */
export const beginCanceling = `
/* order:order.canceling */
with moved as (
  update orders set status = 'CANCELING', reason = $2, version = version + 1,
    updated_at = clock_timestamp()
  where id = $1 and status in ('PENDING', 'PROCESSING', 'NEEDS_ATTENTION')
  returning id, status, stage, reason
)
insert into order_status_history (order_id, status, stage, reason)
select id, status, stage, reason from moved`;

/** How many wait too long, by whom they wait for. */
export const countOverdue = `
/* order:flow.count-overdue */
select service as waiting_for, count(*)::integer as count from dure.flow_wait
where overdue_at is not null group by service`;

/** When a checkout waited too long, and for whom. */
export const listOverdue = `
/* order:flow.overdue */
select event ->> 'service' as waiting_for, recorded_at as overdue_at from dure.saga_event
where saga_id = $1 and type = 'overdue' order by n, at`;

/** Whether the saga waits for a person now. */
export const isParked = `
/* order:saga.is-parked */
select exists (select from dure.saga_parked where saga_id = $1) as is_parked`;

/** The database's time, by which everything here is dated. */
export const readClock = `
/* order:clock.read */
select clock_timestamp() as now`;
