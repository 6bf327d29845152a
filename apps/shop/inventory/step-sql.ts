/** The products of what a saga reserved. These columns never change, so no lock is needed. */
export const readProductsOfSaga = `
/* inventory:step.products */
select distinct product_id from stock_reservations where order_id = $1 and saga_id = $2`;

/** What a saga reserved, as it is: rows change only under the locks of their products. */
export const readHeld = `
/* inventory:step.held */
select product_id, quantity, status, restocked_quantity,
  can_expire and expired_at <= clock_timestamp() as is_expired
from stock_reservations where order_id = $1 and saga_id = $2`;

/** Ends the semantic lock in one way or the other. */
export const endHeld = `
/* inventory:step.end */
update stock_reservations
set status = $1, reservation_status = 'AVAILABLE', updated_at = clock_timestamp()
where order_id = $2 and saga_id = $3 and status = 'RESERVED'`;

/** Takes the semantic lock again, for as long as at first. */
export const holdAgain = `
/* inventory:step.hold-again */
update stock_reservations
set status = 'RESERVED', reservation_status = 'RESERVED', updated_at = clock_timestamp(),
  lock_acquired_at = clock_timestamp(),
  expired_at = clock_timestamp() + $1::bigint * interval '1 millisecond'
where order_id = $2 and saga_id = $3 and status = 'CONFIRMED'`;

/** Prolongs what is held and has not run out. */
export const renewHeld = `
/* inventory:step.renew */
update stock_reservations
set expired_at = clock_timestamp() + $1::bigint * interval '1 millisecond',
  updated_at = clock_timestamp()
where order_id = $2 and saga_id = $3 and status = 'RESERVED' and expired_at > clock_timestamp()
returning expired_at`;

/** An order's sold pieces, whoever sold them. */
export const readSold = `
/* inventory:step.sold */
select id, product_id, quantity, status, restocked_quantity, false as is_expired
from stock_reservations
where order_id = $1 and status = 'CONFIRMED' and product_id = any($2::text[]) order by id`;

/** Whether pieces of an order are set aside, and may still be sold. */
export const hasReserved = `
/* inventory:step.has-reserved */
select exists (
  select from stock_reservations where order_id = $1 and status = 'RESERVED'
) as found`;

/** Notes which pieces came back. */
export const addRestocked = `
/* inventory:step.restocked */
update stock_reservations as sold
set restocked_quantity = sold.restocked_quantity + back.quantity, updated_at = clock_timestamp()
from unnest($1::bigint[], $2::bigint[]) as back (id, quantity) where sold.id = back.id`;

/** Sagas that hold pieces for longer than they may. */
export const listExpired = `
/* inventory:expiry.due */
select order_id, saga_id from stock_reservations
where status = 'RESERVED' and can_expire and expired_at <= clock_timestamp()
group by order_id, saga_id order by min(expired_at) limit $1`;
