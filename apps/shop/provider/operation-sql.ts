/** Serialises everything that concerns the keys $1, in the order in which they are given. */
export const lockKey = `
/* provider:operation.lock */
select pg_advisory_xact_lock(hashtextextended($1, 0))`;

/** What happened under one key, and what other operations made of it. */
export const readHistory = `
/* provider:operation.history */
select kind, order_id, fingerprint, outcome, reason, transaction_id, amount_moved,
  exists (select from compensation where forward_key = $1) as compensated,
  coalesce((
    select sum(amount_moved) from operation where forward_key = $1 and kind = 'capture'
  ), 0)::bigint as captured,
  coalesce((
    select sum(amount_moved) from operation where forward_key = $1 and kind = 'refund'
  ), 0)::bigint as refunded
from (select 1) as always left join operation on key = $1`;

/** Keeps what was asked and answered. */
export const insertOperation = `
/* provider:operation.insert */
insert into operation (key, kind, fingerprint, order_id, amount_asked, amount_moved, forward_key,
  outcome, reason, transaction_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`;

/** Keeps what moved. */
export const insertLedgerEntry = `
/* provider:ledger.insert */
insert into ledger_entry (order_id, operation, amount, key) values ($1, $2, $3, $4)`;

/** Refuses the forward key from now on. Two empty compensations of one key are one. */
export const insertCompensation = `
/* provider:compensation.insert */
insert into compensation (forward_key, compensated_by) values ($1, $2)
on conflict (forward_key) do nothing`;

/** The movements of one order, or of all, in their order. */
export const listEntries = `
/* provider:ledger.of-order */
select order_id, operation, amount, key, created_at
from ledger_entry where $1::text is null or order_id = $1 order by id`;

/** The whole ledger added up: one pass, no index needed. */
export const sumByOrder = `
/* provider:ledger.summary */
select order_id,
  coalesce(sum(amount) filter (where operation = 'authorize'), 0)::bigint as authorized,
  coalesce(sum(amount) filter (where operation = 'capture'), 0)::bigint as captured,
  coalesce(sum(amount) filter (where operation = 'charge'), 0)::bigint as charged,
  coalesce(sum(amount) filter (where operation = 'void'), 0)::bigint as voided,
  coalesce(sum(amount) filter (where operation = 'refund'), 0)::bigint as refunded
from ledger_entry group by order_id order by order_id`;
