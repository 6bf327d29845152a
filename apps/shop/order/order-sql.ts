/** The order; no row comes back when another order has its key. */
export const insertOrder = `
/* order:order.insert */
insert into orders (id, user_id, amount, currency, mode, idempotency_key, saga_id,
  line_count)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (user_id, idempotency_key) do nothing
returning id`;

/** All lines of one order in one statement. */
export const insertItems = `
/* order:item.insert */
insert into order_items (order_id, line, product_id, quantity, unit_price)
select $1, line, product_id, quantity, unit_price
from unnest($2::text[], $3::integer[], $4::bigint[]) with ordinality
  as item (product_id, quantity, unit_price, line)`;

/** One line of the history, with the order as it stands now. */
export const insertHistory = `
/* order:history.insert */
insert into order_status_history (order_id, status, stage, reason) values ($1, $2, $3, $4)`;

const orderColumns = `id, number, user_id, amount, currency, mode, status, stage, reason, saga_id,
  line_count, created_at, updated_at`;

/** One order. */
export const readOrder: string = `
/* order:order.read */
select ${orderColumns} from orders where id = $1`;

/** Newest first. Planned anew for its values each time, so that the index fits the filters. */
export const listOrders: string = `
/* order:order.list */
select ${orderColumns} from orders
where ($1::text is null or user_id = $1)
  and ($2::text is null or user_id = $2)
  and ($3::text is null or status = $3)
  and ($4::bigint is null or number < $4)
order by number desc limit $5`;

/** The lines of some orders, in their order. */
export const listItems = `
/* order:item.of-orders */
select order_id, product_id, quantity, unit_price
from order_items where order_id = any($1) order by order_id, line`;

/** The history of some orders, in its order. */
export const listHistory = `
/* order:history.of-orders */
select order_id, status, stage, reason, created_at
from order_status_history where order_id = any($1) order by order_id, id`;

/** What an order asks of inventory, line by line: a sum could be more than one line may have. */
export const listPieces = `
/* order:item.pieces */
select product_id as "productId", quantity from order_items where order_id = $1 order by line`;
