// A choreographed checkout, tracked from its events: in any order, with the service that is waited for.
import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createDure, event, flow, FlowOverdue } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore, postgresTransport } from "dure/postgres";
import pg from "pg";
import { z } from "zod";

const schema = z.object({ sagaId: z.string(), orderId: z.string(), reason: z.string().optional() });
type About = z.infer<typeof schema>;
const define = (type: string) =>
  event(type, { version: 1, schema, key: (data: About) => data.orderId });
const created = define("order.created");
const paid = define("payment.completed");
const refunded = define("payment.refunded");
const reserved = define("stock.reserved");
const outOfStock = define("stock.reservation-failed");

const checkout = flow("checkout", {
  version: 1,
  start: created,
  sagaId: (data: { sagaId: string }) => data.sagaId,
  key: (data) => data.orderId,
  reason: (data: { reason?: string | undefined }) => data.reason,
})
  .step("charge", {
    service: "payment",
    after: created,
    done: paid,
    undone: refunded,
    withinMs: 60_000,
  })
  .step("reserve", {
    service: "inventory",
    after: paid,
    done: reserved,
    refused: outOfStock,
    withinMs: 200,
  })
  .completedBy(reserved);

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("shop") });
await migrate({ pool });
const transport = postgresTransport({ pool });
const sagas = { flows: [checkout], flowWatchMs: 50 };
const dure = createDure({ service: "order", store: postgresStore({ pool }), transport, sagas });
const overdue = Promise.withResolvers<string>();
dure.on(FlowOverdue, { group: "order.alerts" }, ({ data }) =>
  overdue.resolve(`${data.businessKey} waits for ${data.waitingFor.join(", ")}`),
);
await dure.start();

console.log("stock is reserved, and told of before the payment that it came after:");
await tell("SAGA-1", reserved, created, paid);
console.log(`  ${JSON.stringify(await dure.sagas.outcome("SAGA-1"))}`);

console.log("the inventory says nothing for too long:");
await tell("SAGA-2", created, paid);
console.log(`  ${await overdue.promise}`);

console.log("its late answer counts, and the money goes back:");
await tell("SAGA-2", outOfStock, refunded);
console.log(`  ${JSON.stringify(await dure.sagas.outcome("SAGA-2"))}`);

await dure.stop();
await transport.close();
await pool.end();
await server.stop();
await rm("./data", { recursive: true });

/** What the services would emit, each in a transaction of its own; and then the flow is there to be asked for. */
async function tell(sagaId: string, ...events: (typeof created)[]): Promise<void> {
  const data = { sagaId, orderId: `order of ${sagaId}`, reason: "OUT_OF_STOCK" };
  for (const told of events) await dure.transaction(async (tx) => tx.emit(told, data));
  const known = "select from dure.saga_instance where saga_id = $1";
  while ((await pool.query(known, [sagaId])).rowCount === 0) await delay(20);
}
