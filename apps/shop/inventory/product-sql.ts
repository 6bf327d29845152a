/** Makes room for a product that nobody knows yet; its pieces come by an adjustment. */
export const insertProduct = `
/* inventory:product.insert */
insert into inventory (product_id, product_name) values ($1, $2)
on conflict (product_id) do nothing`;

/** The product, locked until the adjustment is journalled. */
export const lockProduct = `
/* inventory:product.lock */
select product_id, product_name, available_quantity, reserved_quantity, sold_quantity
from inventory where product_id = $1 for update`;

/** Sets name and available quantity; what is reserved or sold stays. */
export const updateProduct = `
/* inventory:product.update */
update inventory
set product_name = $1, available_quantity = $2,
  version = version + 1, updated_at = clock_timestamp()
where product_id = $3`;

/** Journals by how much the product's total changed. */
export const insertAdjustment = `
/* inventory:adjustment.insert */
insert into stock_adjustments (product_id, quantity, adjusted_by) values ($1, $2, $3)`;

/** A product as it is. */
export const readProduct = `
/* inventory:product.read */
select product_id, product_name, available_quantity, reserved_quantity, sold_quantity
from inventory where product_id = $1`;

/** Products with the sums of their journals, in one snapshot. */
export const listStock = `
/* inventory:stock.page */
select product_id, available_quantity, reserved_quantity, sold_quantity,
  coalesce((
    select sum(quantity) from stock_adjustments as journal
    where journal.product_id = inventory.product_id
  ), 0)::bigint as adjusted
from inventory where product_id > $1 order by product_id limit $2`;

/** Whole orders only: the last order's rows come all or not at all. */
export const listReservations = `
/* inventory:reservation.page */
select order_id, product_id, quantity, restocked_quantity,
  case when restocked_quantity = quantity then 'RELEASED' else status end as status
from stock_reservations
where order_id > $1 order by order_id fetch first $2 rows with ties`;

/** What was done for an order, oldest first. */
export const listHistory = `
/* inventory:history.of-order */
select created_at, saga_id, what, reason, product_id, step_key, fencing_token, return_id
from stock_history where order_id = $1 order by id`;

/** Reservations that outlived their time: somebody waits too long. */
export const countExpired = `
/* inventory:reservation.count-expired */
select count(*) as expired from stock_reservations
where status = 'RESERVED' and expired_at < clock_timestamp()`;
