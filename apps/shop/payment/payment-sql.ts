/** Writes the intent to charge. No row back: the key was used before. */
export const insertPayment = `
/* payment:insert */
insert into payments (order_id, saga_id, user_id, amount, currency, order_items, status,
  pending_operation, idempotency_key, refund_key, card_token, cause)
values ($1, $2, $3, $4, $5, $6::jsonb, 'PROCESSING', 'charge', $7, $8, $9, $10::jsonb)`;

/** Keeps a payment that was compensated before it came. No row back: it is no such payment. */
export const insertRefusedPayment = `
/* payment:insert-refused */
insert into payments (order_id, saga_id, user_id, amount, currency, order_items, status,
  idempotency_key, refund_key, reason, cause)
select $1, $2, $3, $4, $5, $6::jsonb, 'FAILED', $7, $8, reason, $9::jsonb
from refused_charges where idempotency_key = $7
on conflict (idempotency_key) do nothing returning reason`;

/** Remembers a compensation that came first. No row back: it was remembered already. */
export const insertRefusedCharge = `
/* payment:refuse-charge */
insert into refused_charges (idempotency_key, order_id, reason) values ($1, $2, $3)
on conflict do nothing returning idempotency_key`;

/** The payment of a charge key, held against workers until the transaction ends. */
export const lockByKey = `
/* payment:lock */
select id, status from payments where idempotency_key = $1 for update`;

/** A charge that must not stand. The claim goes: whoever is charging records nothing any more. */
export const beginCancel = `
/* payment:begin-cancel */
update payments set pending_operation = 'cancel', reason = coalesce(reason, $2), card_token = null,
  cause = $3::jsonb, attempts = 0, next_attempt_at = clock_timestamp(),
  pending_since = clock_timestamp(), claim_token = null, claimed_until = null,
  updated_at = clock_timestamp()
where id = $1 and status = 'PROCESSING'`;

/** Money that must go back. */
export const beginRefund = `
/* payment:begin-refund */
update payments set status = 'REFUNDING', pending_operation = 'refund', reason = $2,
  cause = $3::jsonb, attempts = 0, next_attempt_at = clock_timestamp(),
  pending_since = clock_timestamp(), updated_at = clock_timestamp()
where id = $1 and status = 'COMPLETED'`;

/**
 * Takes up to $1 due payments for $2 milliseconds. The CTE is materialized because the planner may
 * otherwise run a locking subquery more than once and take more than the limit.
 */
export const claimDue = `
/* payment:claim */
with due as materialized (
  select id from payments
  where pending_operation is not null and next_attempt_at <= statement_timestamp()
    and (claimed_until is null or claimed_until <= statement_timestamp())
  order by next_attempt_at limit $1 for update skip locked
)
update payments set attempts = attempts + 1, claim_token = gen_random_uuid(),
  claimed_until = statement_timestamp() + $2 * interval '1 millisecond',
  updated_at = statement_timestamp()
from due where payments.id = due.id
returning payments.id, order_id, saga_id, user_id, amount, currency, order_items, status,
  pending_operation, idempotency_key, refund_key, card_token, reason, cause, attempts, claim_token,
  extract(epoch from statement_timestamp() - created_at)::float8 * 1000 as age_ms`;

/** In how many milliseconds something is due; null when nothing is open. */
export const nextDue = `
/* payment:next-due */
select extract(epoch from min(greatest(next_attempt_at, claimed_until)) - statement_timestamp())
  ::float8 * 1000 as due_in_ms
from payments where pending_operation is not null`;

/** The provider's last word, for as long as the claim $2 is ours. */
export const settle = `
/* payment:settle */
update payments set status = $5, pending_operation = null, card_token = null, reason = $6,
  provider_tx_id = coalesce($7, provider_tx_id), refund_tx_id = $8, refunded_amount = $9,
  claim_token = null, claimed_until = null, updated_at = clock_timestamp()
where id = $1 and claim_token = $2 and status = $3 and pending_operation = $4`;

/** A charge is given up: from here on it is canceled, never charged. */
export const giveUp = `
/* payment:give-up */
update payments set pending_operation = 'cancel', reason = $3, card_token = null, attempts = 0,
  next_attempt_at = clock_timestamp(), pending_since = clock_timestamp(), claim_token = null,
  claimed_until = null, updated_at = clock_timestamp()
where id = $1 and claim_token = $2 and status = 'PROCESSING' and pending_operation = 'charge'`;

/** Hands the payment back, to be tried again in $3 milliseconds by any instance. */
export const retryLater = `
/* payment:retry */
update payments set next_attempt_at = clock_timestamp() + $3 * interval '1 millisecond',
  claim_token = null, claimed_until = null, updated_at = clock_timestamp()
where id = $1 and claim_token = $2`;

/** Adds to what happened. */
export const insertHistory = `
/* payment:history */
insert into payment_history (order_id, what, is_compensation, detail) values ($1, $2, $3, $4::jsonb)`;

/** How many payments wait for the provider, by what they wait for. */
export const countWaiting = `
/* payment:waiting */
select pending_operation, count(*)::integer as payments
from payments where pending_operation is not null group by pending_operation`;

/** How long the oldest of them has been waiting; null when none waits. */
export const oldestWaiting = `
/* payment:oldest-waiting */
select extract(epoch from statement_timestamp() - min(pending_since))::float8 as oldest_seconds
from payments where pending_operation is not null`;

/** A page of payments after the order $1. */
export const listPayments = `
/* payment:page */
select order_id, amount, coalesce(refunded_amount, 0) as refunded_amount, status, flow,
  authorized_amount, captured_amount, charged_amount, voided_amount
from payments where $1::text is null or order_id > $1 order by order_id limit $2`;

/** What happened to one order's payment. */
export const listHistory = `
/* payment:timeline */
select what, is_compensation, is_step, detail, created_at
from payment_history where order_id = $1 order by id`;
