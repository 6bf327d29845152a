// Knex: the event is written through the transaction, and commits or rolls back with the row.
import { fromKnex } from "dure/transaction";
import createKnex from "knex";
import { openShop, OrderPlaced } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const knex = createKnex({ client: "pg", connection: url });

await show((order, refusal) =>
  knex.transaction(async (trx) => {
    await trx("orders").insert(order);
    await dure.outbox.emit(fromKnex(trx), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

// @ts-expect-error The knex is no transaction: the compiler says so, and so does the library.
const refuse = (): unknown => fromKnex(knex);
void refuse;

await knex.destroy();
await close();
