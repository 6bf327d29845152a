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

/** Takes the semantic lock of all pieces for the saga, and notes it in the order's history. */
export const insertReservations = `
/* inventory:reservation.insert */
with call as (
  select $1::text as order_id, $2::text as saga_id, $3::text as key,
    clock_timestamp() as at, $4::bigint * interval '1 millisecond' as hold
), noted as (
  insert into stock_history (order_id, saga_id, what) select order_id, saga_id, 'RESERVED' from call
)
insert into stock_reservations (order_id, product_id, quantity, status, reservation_status,
  saga_id, lock_acquired_at, idempotency_key, expired_at)
select call.order_id, wanted.product_id, wanted.quantity, 'RESERVED', 'RESERVED',
  call.saga_id, call.at, call.key, call.at + call.hold
from call, unnest($5::text[], $6::bigint[]) as wanted (product_id, quantity)`;

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
insert into stock_history (order_id, saga_id, what, reason, product_id)
values ($1, $2, $3, $4, $5)`;
