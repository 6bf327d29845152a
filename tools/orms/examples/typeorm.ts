// TypeORM: the event is written through the manager of the transaction, and commits or rolls back with the row.
import { fromTypeorm } from "dure/transaction";
import { DataSource, EntitySchema } from "typeorm";
import { openShop, OrderPlaced } from "./shop.ts";
import type { Order } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const Orders = new EntitySchema<Order>({
  name: "orders",
  columns: { id: { type: "text", primary: true }, amount: { type: "int" } },
});
const source = await new DataSource({ type: "postgres", url, entities: [Orders] }).initialize();

await show((order, refusal) =>
  source.transaction(async (manager) => {
    await manager.insert(Orders, order);
    await dure.outbox.emit(fromTypeorm(manager), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

// A runner that you began a transaction on will do as well.
const runner = source.createQueryRunner();
await runner.startTransaction();
await dure.outbox.emit(fromTypeorm(runner), OrderPlaced.of({ id: "o-3", amount: 1 }));
await runner.rollbackTransaction();
await runner.release();

await source.destroy();
await close();
