// Drizzle: the event is written through the tx, and commits or rolls back with the row.
import { drizzle } from "drizzle-orm/node-postgres";
import { integer, pgTable, text } from "drizzle-orm/pg-core";
import { fromDrizzle } from "dure/transaction";
import pg from "pg";
import { openShop, OrderPlaced } from "./shop.ts";

const { url, dure, show, close } = await openShop();
const orders = pgTable("orders", { id: text().primaryKey(), amount: integer().notNull() });
const pool = new pg.Pool({ connectionString: url });
const db = drizzle({ client: pool });

await show((order, refusal) =>
  db.transaction(async (tx) => {
    await tx.insert(orders).values(order);
    await dure.outbox.emit(fromDrizzle(tx), OrderPlaced.of(order));
    if (refusal !== undefined) throw new Error(refusal);
  }),
);

await pool.end();
await close();
