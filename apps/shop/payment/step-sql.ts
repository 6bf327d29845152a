/** Keeps the intent, before the provider is asked. */
export const insertOperation = `
/* payment:step.insert */
insert into payment_operation (key, kind, order_id, saga_id, amount, currency, forward_key,
  is_compensation, card_token, reason, fencing_token, request_id, traceparent, next_attempt_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
  clock_timestamp() + $14 * interval '1 millisecond')`;

const columns = `key, kind, order_id, saga_id, amount, currency, forward_key, is_compensation,
  card_token, state, reason, moved_amount, provider_tx_id, request_id, traceparent, attempts`;

/** One operation as it is. */
export const readOperation = `
/* payment:step.read */
select ${columns} from payment_operation where key = $1`;

/** Whether an authorization is captured, or may be. */
export const hasCapture = `
/* payment:step.captures */
select exists (
  select from payment_operation
  where forward_key = $1 and kind = 'capture' and state in ('PENDING', 'APPROVED')
) as found`;

/** The provider's last word about an operation that is still open. */
export const settleOperation = `
/* payment:step.settle */
update payment_operation
set state = $2, reason = coalesce($3, reason), moved_amount = $4, provider_tx_id = $5,
  card_token = null, updated_at = clock_timestamp()
where key = $1 and state = 'PENDING'`;

/** A step that must not stand: what is still under way for it is not believed any more. */
export const compensateOperation = `
/* payment:step.compensate */
update payment_operation
set state = 'COMPENSATED', moved_amount = null, card_token = null, updated_at = clock_timestamp()
where key = $1 and state in ('PENDING', 'APPROVED')`;

/** Takes up to $1 open operations for $2 milliseconds. */
export const claimOperations = `
/* payment:step.claim */
with due as materialized (
  select key as due_key from payment_operation
  where state = 'PENDING' and next_attempt_at <= statement_timestamp()
  order by next_attempt_at limit $1 for update skip locked
)
update payment_operation set attempts = attempts + 1,
  next_attempt_at = statement_timestamp() + $2 * interval '1 millisecond',
  updated_at = statement_timestamp()
from due where key = due_key
returning ${columns}`;

/** Says when the service asks by itself again. */
export const postponeOperations = `
/* payment:step.postpone */
update payment_operation
set next_attempt_at = clock_timestamp() + $2 * interval '1 millisecond'
where key = any($1::text[]) and state = 'PENDING'`;

/** A payment that a step begins. No row back: the order has one already. */
export const insertPayment = `
/* payment:step.insert-payment */
insert into payments (order_id, saga_id, user_id, amount, currency, order_items, status, flow,
  idempotency_key, cause)
values ($1, $2, $3, $4, $5, '[]', 'PROCESSING', $6, $7, $8::jsonb)
on conflict do nothing returning id`;

/** An order's payment, held until the transaction ends: everybody's first lock. */
export const lockPayment = `
/* payment:step.lock */
select order_id, amount, currency, status, flow, idempotency_key, refund_claimed,
  coalesce(refunded_amount, 0) as refunded, coalesce(capture_key, idempotency_key) as paid_key
from payments where order_id = $1 for update`;

/** Where the money stands after an answer, or while one is awaited. */
export const movePayment = `
/* payment:step.move */
update payments set status = coalesce($2, status), reason = coalesce($3, reason),
  authorized_amount = greatest(authorized_amount, $4::bigint),
  captured_amount = captured_amount + $5::bigint,
  charged_amount = greatest(charged_amount, $6::bigint), voided_amount = voided_amount + $7::bigint,
  refunded_amount = coalesce(refunded_amount, 0) + $8::bigint,
  refund_claimed = refund_claimed + $9::bigint, capture_key = coalesce($10, capture_key),
  provider_tx_id = coalesce($11, provider_tx_id), updated_at = clock_timestamp()
where order_id = $1`;

/** Adds to what happened. */
export const insertHistory = `
/* payment:step.history */
insert into payment_history (order_id, what, is_compensation, is_step, detail)
values ($1, $2, $3, true, $4::jsonb)`;

/** How many steps wait for the provider. */
export const countOpen = `
/* payment:step.open */
select count(*)::integer as open from payment_operation where state = 'PENDING'`;
