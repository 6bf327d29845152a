// An order and its event commit together; the payment service handles the event once, and answers the same way.
import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createDure, event } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore, postgresTransport } from "dure/postgres";
import pg from "pg";
import { z } from "zod";

const Order = z.object({ orderId: z.string(), amount: z.int() });
const OrderPlaced = event("order.placed", { version: 1, schema: Order, key: (o) => o.orderId });
const PaymentDone = event("payment.done", { version: 1, schema: Order, key: (o) => o.orderId });

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const orderPool = await openDatabase("order", "orders (id text, amount int, state text)");
const paymentPool = await openDatabase("payment", "payments (order_id text, amount int)");
const logPool = await openDatabase("log");

// Each service has a database of its own; the log between them is a third one.
const transport = postgresTransport({ pool: logPool });
const order = createDure({
  service: "order",
  store: postgresStore({ pool: orderPool }),
  transport,
});
const payment = createDure({
  service: "payment",
  store: postgresStore({ pool: paymentPool }),
  transport,
});

payment.on(OrderPlaced, {}, async ({ data }, tx) => {
  await tx.query("insert into payments values ($1, $2)", [data.orderId, data.amount]);
  tx.emit(PaymentDone, data);
});
order.on(PaymentDone, {}, async ({ data }, tx) => {
  await tx.query("update orders set state = 'paid' where id = $1", [data.orderId]);
});
await Promise.all([order.start(), payment.start()]);

await placeOrder("o-1", 4200);
await placeOrder("o-2", -1).catch((error: Error) =>
  console.log(`o-2 was refused: ${error.message}`),
);
await placeOrder("o-3", 900);
while ((await count(orderPool, "orders where state = 'paid'")) < 2) await delay(20);

const paid = await count(orderPool, "orders where state = 'paid'");
console.log(`orders: ${await count(orderPool, "orders")}, paid: ${paid}`);
console.log(`payments: ${await count(paymentPool, "payments")}`);
console.log(`events of the order service: ${await count(orderPool, "dure.outbox_message")}`);

await Promise.all([order.stop(), payment.stop()]);
await transport.close();
await Promise.all([orderPool, paymentPool, logPool].map((pool) => pool.end()));
await server.stop();
await rm("./data", { recursive: true });

async function placeOrder(orderId: string, amount: number): Promise<void> {
  await order.transaction(async (tx) => {
    await tx.query("insert into orders values ($1, $2, 'placed')", [orderId, amount]);
    tx.emit(OrderPlaced, { orderId, amount });
    // Whatever throws takes the row and the event with it.
    if (amount < 0) throw new Error("an amount cannot be negative");
  });
}

async function openDatabase(name: string, table?: string): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: await server.createDatabase(name) });
  await migrate({ pool });
  if (table !== undefined) await pool.query(`create table ${table}`);
  return pool;
}

async function count(pool: pg.Pool, what: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `select count(*)::int as count from ${what}`,
  );
  return rows[0]?.count ?? 0;
}
