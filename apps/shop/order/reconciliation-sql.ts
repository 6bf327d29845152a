/** A page of all orders with their pieces per product. */
export const listForComparison = `
/* order:reconciliation.orders */
select o.id, o.number, o.status, o.amount, pieces.lines
from (
  select id, number, status, amount from orders where number > $1 order by number limit $2
) as o
cross join lateral (
  select json_agg(json_build_array(product_id, quantity)) as lines
  from (
    select product_id, sum(quantity) as quantity
    from order_items where order_id = o.id group by product_id
  ) as product
) as pieces
order by o.number`;

/** Pieces per product over all orders, in one snapshot. */
export const sumPieces = `
/* order:reconciliation.pieces */
select i.product_id,
  coalesce(sum(i.quantity) filter (where o.status = 'COMPLETED'), 0)::bigint as sold,
  coalesce(sum(i.quantity) filter (where o.status not in ('COMPLETED', 'CANCELED')), 0)::bigint
    as in_flight,
  sum(i.quantity)::bigint as total
from order_items as i join orders as o on o.id = i.order_id
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
