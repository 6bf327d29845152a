// MikroORM: the event is written in the transaction of the manager, and commits or rolls back with the row.
import { EntitySchema, MikroORM } from "@mikro-orm/postgresql";
import { fromMikroOrm } from "dure/transaction";
import { openShop, OrderPlaced } from "./shop.ts";
import type { Order } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const Orders = new EntitySchema<Order>({
  name: "Order",
  tableName: "orders",
  properties: { id: { type: "text", primary: true }, amount: { type: "int" } },
});
const orm = await MikroORM.init({ entities: [Orders], clientUrl: url });

await show((order, refusal) =>
  orm.em.fork().transactional(async (em) => {
    // Written when MikroORM flushes, after the event: the transaction is one.
    em.create(Orders, order);
    await dure.outbox.emit(fromMikroOrm(em), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

await orm.close();
await close();
