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

/** Some orders that no saga has taken up for a while ($1). */
export const listUnbegun = `
/* order:order.unbegun */
select id, saga_id from orders
where status = 'PENDING' and mode = 'orchestration'
  and created_at < clock_timestamp() - make_interval(secs => $1::float8 / 1000)
order by created_at limit $2`;

/** Follows the order, and gives the next step its time ($4) from now on. */
export const progressSaga = `
/* order:saga.progress */
update order_sagas set state = $2, waiting_for = $3,
  deadline_at = case when $3::text is null then null
    else clock_timestamp() + make_interval(secs => $4::float8 / 1000) end,
  overdue_at = null, updated_at = clock_timestamp()
where saga_id = $1 and state in ('RUNNING', 'COMPENSATING')`;

/** Marks some sagas that wait too long; each is found once, by one instance, until it moves again. */
export const markOverdue = `
/* order:saga.mark-overdue */
update order_sagas set overdue_at = clock_timestamp()
where saga_id in (
  select saga_id from order_sagas
  where state in ('RUNNING', 'COMPENSATING') and overdue_at is null
    and deadline_at < clock_timestamp()
  order by deadline_at limit $1 for update skip locked
)
returning saga_id, order_id, waiting_for, state, updated_at`;

/** How many wait too long, by whom they wait for. */
export const countOverdue = `
/* order:saga.count-overdue */
select waiting_for, count(*)::integer as count from order_sagas
where state in ('RUNNING', 'COMPENSATING') and overdue_at is not null group by waiting_for`;

/** What the timeline tells of the saga itself. */
export const readSaga = `
/* order:saga.read */
select state, waiting_for, overdue_at from order_sagas where saga_id = $1`;

/** The database's time, by which everything here is dated. */
export const readClock = `
/* order:clock.read */
select clock_timestamp() as now`;
