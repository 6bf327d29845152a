/** One delivery per order, whatever comes twice. */
export const insertDelivery = `
/* delivery:delivery.insert */
insert into deliveries (order_id, delivery_id, saga_id, user_id, idempotency_key, status,
  correlation_id, causation_id, traceparent, tracestate)
values ($1, $2, $3, $4, $5, 'PENDING', $6, $7, $8, $9)
on conflict (order_id) do nothing`;

/** The same for a saga's step, whose request has some time to ask the carrier itself. */
export const insertStepDelivery = `
/* delivery:step.insert */
insert into deliveries (order_id, delivery_id, saga_id, user_id, idempotency_key, status,
  is_orchestrated, fencing_token, correlation_id, traceparent, due_at)
values ($1, $2, $3, $4, $5, 'PENDING', true, $6, $7, $8,
  clock_timestamp() + $9 * interval '1 millisecond')
on conflict do nothing`;

/** What a step has begun, in the form of a claim that nobody holds. */
export const readStepDelivery = `
/* delivery:step.read */
select id, order_id, delivery_id, saga_id, idempotency_key, attempt_count, correlation_id,
  causation_id, traceparent, tracestate, is_orchestrated, status
from deliveries where order_id = $1 and idempotency_key = $2`;

/** An order's delivery, held until the transaction ends. */
export const lockDelivery = `
/* delivery:step.lock */
select status from deliveries where order_id = $1 for update`;

/** Calls a delivery back. */
export const stopDelivery = `
/* delivery:step.stop */
update deliveries
set status = 'STOPPED', stopped_at = clock_timestamp(), stop_saga_id = $2, stop_key = $3,
  updated_at = clock_timestamp()
where order_id = $1 and status = 'STARTED'`;

/** Takes deliveries that are due, for a time; others skip them meanwhile. */
export const claimDeliveries = `
/* delivery:delivery.claim */
update deliveries as delivery
set claimed_until = clock_timestamp() + $1 * interval '1 millisecond',
  attempt_count = delivery.attempt_count + 1, updated_at = clock_timestamp()
from (
  select id from deliveries
  where status = 'PENDING' and due_at <= clock_timestamp()
    and (claimed_until is null or claimed_until <= clock_timestamp())
  order by due_at, id limit $2 for update skip locked
) as due
where delivery.id = due.id
returning delivery.id, delivery.order_id, delivery.delivery_id, delivery.saga_id,
  delivery.idempotency_key, delivery.attempt_count, delivery.correlation_id,
  delivery.causation_id, delivery.traceparent, delivery.tracestate, delivery.is_orchestrated`;

/** Prolongs the claims of what is under way; what was given back stays given back. */
export const renewClaims = `
/* delivery:delivery.renew */
update deliveries set claimed_until = clock_timestamp() + $1 * interval '1 millisecond'
where id = any($2::bigint[]) and claimed_until is not null`;

/** Only the first answer counts: one from before a take-over finds nothing to change. */
export const settleDelivery = `
/* delivery:delivery.settle */
update deliveries
set status = $1, reason = $2, decided_at = clock_timestamp(), claimed_until = null, updated_at = clock_timestamp()
where id = $3 and status = 'PENDING'`;

/** Gives it back to rest for a while, unless somebody has taken it over meanwhile. */
export const postponeDelivery = `
/* delivery:delivery.postpone */
update deliveries
set due_at = clock_timestamp() + $1 * interval '1 millisecond', claimed_until = null,
  last_error = coalesce($2, last_error), updated_at = clock_timestamp()
where id = $3 and status = 'PENDING' and attempt_count = $4`;

/** Deliveries that the carrier has answered. */
export const listDeliveries = `
/* delivery:delivery.page */
select order_id, status from deliveries
where order_id > $1 and status <> 'PENDING' order by order_id limit $2`;

/** An order's delivery. */
export const readDelivery = `
/* delivery:delivery.of-order */
select delivery_id, saga_id, status, reason, attempt_count, last_error, created_at,
  coalesce(decided_at, updated_at) as decided_at, is_orchestrated, idempotency_key, fencing_token,
  stopped_at, stop_saga_id, stop_key
from deliveries where order_id = $1`;

/** Deliveries that the carrier has not answered. */
export const countPending = `
/* delivery:delivery.count-pending */
select count(*) as pending from deliveries where status = 'PENDING'`;

/** The carrier decides once per key; who comes second gets no row, and reads the decision. */
export const insertBooking = `
/* delivery:carrier.decide */
insert into carrier_bookings (idempotency_key, order_id, outcome) values ($1, $2, $3)
on conflict (idempotency_key) do nothing returning outcome`;

/** What the carrier decided. In a statement of its own: it sees what the insert waited for. */
export const readBooking = `
/* delivery:carrier.read */
select outcome from carrier_bookings where idempotency_key = $1`;
