// The transaction is Kysely's; the event is written into it, and commits or rolls back with it.
import { rm } from "node:fs/promises";
import { createDure, event, isDureError } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore } from "dure/postgres";
import { fromKysely } from "dure/transaction";
import type { KyselyTransaction } from "dure/transaction";
import { Kysely, PostgresDialect } from "kysely";
import type { Transaction } from "kysely";
import pg from "pg";
import { z } from "zod";

interface Tables {
  orders: { id: string; amount: number };
}

const OrderPlaced = event("order.placed", {
  version: 1,
  schema: z.object({ orderId: z.string(), amount: z.int() }),
  key: (order) => order.orderId,
});

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("order") });
await migrate({ pool });
await pool.query("create table orders (id text primary key, amount int not null)");

const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
// No transport and no start: this process writes events, another one may publish them.
const dure = createDure({ service: "order", store: postgresStore({ pool }) });

await db.transaction().execute((trx) => placeOrder(trx, "o-1", 4200));
console.log(`committed: ${await describe()}`);

await db
  .transaction()
  .execute(async (trx) => {
    await placeOrder(trx, "o-2", 900);
    throw new Error("the customer left");
  })
  .catch((error: Error) => console.log(`rolled back: ${error.message}`));
console.log(`still: ${await describe()}`);

// What is no transaction is refused: the compiler says so, and so does the library.
try {
  fromKysely(db as unknown as KyselyTransaction);
} catch (error) {
  if (isDureError(error)) console.log(`${error.code}: ${error.message}`);
}

await db.destroy();
await server.stop();
await rm("./data", { recursive: true });

async function placeOrder(trx: Transaction<Tables>, id: string, amount: number): Promise<void> {
  await trx.insertInto("orders").values({ id, amount }).execute();
  await dure.outbox.emit(fromKysely(trx), OrderPlaced.of({ orderId: id, amount }));
}

async function describe(): Promise<string> {
  const { rows: orders } = await pool.query<{ id: string }>("select id from orders");
  const { rows: events } = await pool.query<{ key: string; type: string; state: string }>(
    "select key, type, state from dure.outbox_status",
  );
  const all = events.map(({ type, key, state }) => `${type} of ${key} is ${state}`);
  return `orders ${orders.map((order) => order.id).join(", ")}; ${all.join(", ")}`;
}
