/** Returns of one customer take turns: each sees what the one before has taken. */
export const lockCustomer = `
/* order:return.lock-customer */
select pg_advisory_xact_lock(hashtextextended($1, 4711))`;

/**
 * What a customer may still bring back of some products, in the order in which it is taken. The
 * orders are held: none of them is canceled meanwhile.
 */
export const listPurchases = `
/* order:return.purchases */
select i.order_id, i.line, i.product_id, i.quantity - i.returned_quantity as quantity, i.unit_price
from orders as o join order_items as i on i.order_id = o.id
where o.user_id = $1 and o.status = 'COMPLETED' and i.product_id = any($2)
  and i.returned_quantity < i.quantity
order by o.number desc, i.line desc
for no key update of o`;

/** A return. */
export const insertReturn = `
/* order:return.insert */
insert into returns (id, user_id, refund, saga_id) values ($1, $2, $3, $4)`;

/** Its lines, as they were asked for. */
export const insertReturnItems = `
/* order:return.insert-items */
insert into return_items (return_id, line, product_id, quantity, unit_price)
select $1, line, product_id, quantity, unit_price
from unnest($2::text[], $3::integer[], $4::bigint[]) with ordinality
  as item (product_id, quantity, unit_price, line)`;

/** Which purchases they are taken from; the check of the lines refuses more than was bought. */
export const insertAllocations = `
/* order:return.allocate */
with taken as (
  insert into return_allocations (return_id, order_id, line, product_id, quantity, unit_price)
  select $1, order_id, line, product_id, quantity, unit_price
  from unnest($2::text[], $3::integer[], $4::text[], $5::integer[], $6::bigint[])
    as share (order_id, line, product_id, quantity, unit_price)
  returning order_id, line, quantity
)
update order_items as i
set returned_quantity = i.returned_quantity + taken.quantity, updated_at = clock_timestamp()
from taken where i.order_id = taken.order_id and i.line = taken.line`;

/** What a return takes from each order, always in the same order. */
export const listShares = `
/* order:return.shares */
select order_id as "orderId", sum(quantity * unit_price)::bigint as amount,
  json_agg(json_build_object('productId', product_id, 'quantity', quantity) order by line) as items
from return_allocations where return_id = $1 group by order_id order by order_id`;

/** The goods are back, and so is the money; whoever looked after a parked return is done as well. */
export const completeReturn = `
/* order:return.complete */
update returns set status = 'COMPLETED', updated_at = clock_timestamp()
where id = $1 and status in ('PENDING', 'NEEDS_ATTENTION')`;

/** The saga of a return is parked, if it still is. */
export const parkReturn = `
/* order:return.park */
update returns set status = 'NEEDS_ATTENTION', updated_at = clock_timestamp()
where saga_id = $1 and status = 'PENDING'
  and exists (select from dure.saga_parked as p where p.saga_id = $1)`;

/** An operator says that the goods are back, and so is the money. */
export const closeReturn = `
/* order:return.close */
update returns set status = 'COMPLETED', updated_at = clock_timestamp()
where saga_id = $1 and status in ('PENDING', 'NEEDS_ATTENTION')`;

/** The saga of a return has ended without it. */
export const strandReturn = `
/* order:return.strand */
update returns set status = 'NEEDS_ATTENTION', updated_at = clock_timestamp()
where saga_id = $1 and status = 'PENDING'`;

/** One return. */
export const readReturn = `
/* order:return.read */
select r.id, r.user_id, r.status, r.refund, r.created_at, r.updated_at,
  (select json_agg(json_build_array(i.product_id, i.quantity, i.unit_price) order by i.line)
   from return_items as i where i.return_id = r.id) as items
from returns as r where r.id = $1`;

/** The returns that took something from an order, for its timeline. */
export const listReturnsOf = `
/* order:return.of-order */
select r.id, r.status, r.saga_id, r.created_at, r.updated_at,
  sum(a.quantity)::bigint as quantity, sum(a.quantity * a.unit_price)::bigint as amount
from return_allocations as a join returns as r on r.id = a.return_id
where a.order_id = $1 group by r.id order by r.created_at, r.id`;

/** What of an order no return has taken, line by line. */
export const listKept = `
/* order:cancel.kept */
select product_id as "productId", quantity - returned_quantity as quantity
from order_items where order_id = $1 and returned_quantity < quantity order by line`;

/** What was paid for that. */
export const sumKept = `
/* order:cancel.kept-amount */
select coalesce(sum((quantity - returned_quantity) * unit_price), 0)::bigint as amount
from order_items where order_id = $1`;

/** Notes that somebody wants the order canceled; the first one counts. */
export const insertCancellation = `
/* order:cancel.insert */
insert into order_cancellations (order_id, requested_by) values ($1, $2)
on conflict (order_id) do nothing`;

/** The saga that undoes a completed order; no row: nobody asked, or it has one. */
export const startCancellation = `
/* order:cancel.start */
update order_cancellations set saga_id = $2, updated_at = clock_timestamp()
where order_id = $1 and saga_id is null returning order_id`;

/** The order stays as it is: the wish is gone, and may come again. */
export const dropCancellation = `
/* order:cancel.drop */
delete from order_cancellations where saga_id = $1`;

/** Who wanted the order canceled, for its timeline. */
export const readCancellation = `
/* order:cancel.read */
select requested_by, saga_id, created_at from order_cancellations where order_id = $1`;

/** The order of a saga that is parked: its checkout, or what undoes it. */
export const findOrderOfSaga = `
/* order:saga.order */
select id as order_id from orders where saga_id = $1
union all
select order_id from order_cancellations where saga_id = $1`;
