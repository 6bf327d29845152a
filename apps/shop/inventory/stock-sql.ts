/** Locks the products' rows in the order of their ids, so that no two transactions wait in a ring. */
export const lockProducts = `
/* inventory:stock.lock */
select product_id, available_quantity, reserved_quantity from inventory
where product_id = any($1::text[]) order by product_id for update`;

/** The same without waiting: rows that somebody else has are missing, like those that never were. */
export const lockFreeProducts = `
/* inventory:stock.lock-free */
select product_id, available_quantity, reserved_quantity from inventory
where product_id = any($1::text[]) order by product_id for update skip locked`;

/** Available to reserved. The guard holds by itself, whatever was read before. */
export const moveToReserved = `
/* inventory:stock.reserve */
update inventory as stock
set available_quantity = stock.available_quantity - wanted.quantity,
  reserved_quantity = stock.reserved_quantity + wanted.quantity,
  version = stock.version + 1, updated_at = clock_timestamp()
from unnest($1::text[], $2::bigint[]) as wanted (product_id, quantity)
where stock.product_id = wanted.product_id and stock.available_quantity >= wanted.quantity`;

/** Reserved to sold. */
export const moveToSold = `
/* inventory:stock.confirm */
update inventory as stock
set reserved_quantity = stock.reserved_quantity - held.quantity,
  sold_quantity = stock.sold_quantity + held.quantity,
  version = stock.version + 1, updated_at = clock_timestamp()
from unnest($1::text[], $2::bigint[]) as held (product_id, quantity)
where stock.product_id = held.product_id and stock.reserved_quantity >= held.quantity`;

/** Reserved to available. */
export const moveToAvailable = `
/* inventory:stock.release */
update inventory as stock
set reserved_quantity = stock.reserved_quantity - held.quantity,
  available_quantity = stock.available_quantity + held.quantity,
  version = stock.version + 1, updated_at = clock_timestamp()
from unnest($1::text[], $2::bigint[]) as held (product_id, quantity)
where stock.product_id = held.product_id and stock.reserved_quantity >= held.quantity`;

/** Sold to reserved. */
export const moveSoldToReserved = `
/* inventory:stock.unconfirm */
update inventory as stock
set sold_quantity = stock.sold_quantity - sold.quantity,
  reserved_quantity = stock.reserved_quantity + sold.quantity,
  version = stock.version + 1, updated_at = clock_timestamp()
from unnest($1::text[], $2::bigint[]) as sold (product_id, quantity)
where stock.product_id = sold.product_id and stock.sold_quantity >= sold.quantity`;

/** Sold to available. */
export const moveSoldToAvailable = `
/* inventory:stock.restock */
update inventory as stock
set sold_quantity = stock.sold_quantity - sold.quantity,
  available_quantity = stock.available_quantity + sold.quantity,
  version = stock.version + 1, updated_at = clock_timestamp()
from unnest($1::text[], $2::bigint[]) as sold (product_id, quantity)
where stock.product_id = sold.product_id and stock.sold_quantity >= sold.quantity`;

/** Takes the semantic lock of all pieces for the saga. */
export const insertReservations = `
/* inventory:reservation.insert */
with call as (
  select $1::text as order_id, $2::text as saga_id, $3::text as key,
    clock_timestamp() as at, $4::bigint * interval '1 millisecond' as hold, $5::boolean as can_expire
)
insert into stock_reservations (order_id, product_id, quantity, status, reservation_status,
  saga_id, lock_acquired_at, idempotency_key, expired_at, can_expire)
select call.order_id, wanted.product_id, wanted.quantity, 'RESERVED', 'RESERVED',
  call.saga_id, call.at, call.key, call.at + call.hold, call.can_expire
from call, unnest($6::text[], $7::bigint[]) as wanted (product_id, quantity)
returning expired_at`;

/** What a saga reserved for an order. These columns never change, so no lock is needed. */
export const readReservedProducts = `
/* inventory:reservation.products */
select product_id from stock_reservations
where order_id = $1 and saga_id = $2 and idempotency_key = $3`;

/** Ends the semantic lock in one way or the other; only its owner's rows, only while it is held. */
export const endReservations = `
/* inventory:reservation.end */
update stock_reservations
set status = $1, reservation_status = 'AVAILABLE', updated_at = clock_timestamp()
where order_id = $2 and saga_id = $3 and idempotency_key = $4
  and status = 'RESERVED' and reservation_status = 'RESERVED'
returning product_id, quantity`;

/** One line of the order's history. */
export const insertHistory = `
/* inventory:history.insert */
insert into stock_history (order_id, saga_id, what, reason, product_id, step_key, fencing_token,
  return_id)
values ($1, $2, $3, $4, $5, $6, $7, $8)`;
