/**
 * A page of all orders with the pieces per product that were not returned, what was refunded for
 * those that were, and whether a return is under way.
 */
export const listForComparison = `
/* order:reconciliation.orders */
select o.id, o.number, o.status, o.amount, pieces.lines, pieces.refunded, exists (
  select from return_allocations as a join returns as r on r.id = a.return_id
  where a.order_id = o.id and r.status <> 'COMPLETED'
) as has_open_return
from (
  select id, number, status, amount from orders where number > $1 order by number limit $2
) as o
cross join lateral (
  select coalesce(json_agg(json_build_array(product_id, kept)) filter (where kept > 0), '[]')
      as lines,
    sum(refunded) as refunded
  from (
    select product_id, sum(quantity - returned_quantity) as kept,
      sum(returned_quantity * unit_price) as refunded
    from order_items where order_id = o.id group by product_id
  ) as product
) as pieces
order by o.number`;

/** Pieces per product over all orders, in one snapshot; what is being returned is in flight. */
export const sumPieces = `
/* order:reconciliation.pieces */
select i.product_id,
  coalesce(sum(i.quantity - i.returned_quantity) filter (where o.status = 'COMPLETED'), 0)::bigint
    as sold,
  (coalesce(sum(i.quantity - i.returned_quantity) filter (
    where o.status not in ('COMPLETED', 'CANCELED')), 0)
   + coalesce(min(open.quantity), 0))::bigint as in_flight,
  sum(i.quantity)::bigint as total
from order_items as i join orders as o on o.id = i.order_id
left join (
  select a.product_id, sum(a.quantity) as quantity
  from returns as r join return_allocations as a on a.return_id = r.id
  where r.status <> 'COMPLETED' group by a.product_id
) as open on open.product_id = i.product_id
group by i.product_id`;

/** How many orders stand at each status, how many returns are under way, and when this was. */
export const countStatuses = `
/* order:reconciliation.status-counts */
select clock_timestamp() as checked_at,
  (select json_object_agg(status, count) from (
    select status, count(*) as count from orders group by status
  ) as counted) as orders,
  (select count(*)::integer from returns where status <> 'COMPLETED') as returns_in_flight`;

/** Which of these are orders of ours. */
export const knownOrders = `
/* order:reconciliation.known */
select id from orders where id = any($1)`;
