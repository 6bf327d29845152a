// A message that fails for good waits as a dead letter, its key behind it; redriven, they are done in order.
import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { createDure, event, PermanentError } from "dure";
import type { DureStatus } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore, postgresTransport } from "dure/postgres";
import pg from "pg";
import { z } from "zod";

const AddressChanged = event("address.changed", {
  version: 1,
  schema: z.object({ customerId: z.string(), city: z.string() }),
  key: (change) => change.customerId,
});

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("customer") });
await migrate({ pool });
await pool.query("create table address (customer_id text primary key, city text)");

const transport = postgresTransport({ pool });
const dure = createDure({ service: "customer", store: postgresStore({ pool }), transport });
let knowsKorea = false;

dure.on(AddressChanged, {}, async ({ data }, tx) => {
  if (data.city === "서울" && !knowsKorea) throw new PermanentError(`cannot read the city`);
  await tx.query(
    "insert into address values ($1, $2) on conflict (customer_id) do update set city = $2",
    [data.customerId, data.city],
  );
  console.log(`handled: ${data.customerId} lives in ${data.city}`);
});
await dure.start();

await change("ada", "서울");
await until((status) => status.deadLetters === 1);
await change("ada", "부산");
await until((status) => status.waiting === 1);
// Another customer does not wait.
await change("bob", "Lyon");
await until((status) => status.pending === 0);
while ((await addresses()) !== "bob: Lyon") await delay(20);

for (const letter of await dure.deadLetters.list()) {
  const { type, key, errorCode, lastError, heldCount } = letter;
  console.log(`dead letter: ${type} of ${key}, ${errorCode}, ${lastError}, ${heldCount} behind it`);
}

knowsKorea = true; // the corrected handler is deployed
const by = { actor: "ada", reason: "reads every city since 1.4.2" };
console.log(`redriven: ${await dure.deadLetters.redrive({ type: "address.changed" }, by)}`);
await until((status) => status.deadLetters === 0 && status.waiting === 0);
console.log(await addresses());

await dure.stop();
await transport.close();
await pool.end();
await server.stop();
await rm("./data", { recursive: true });

async function change(customerId: string, city: string): Promise<void> {
  await dure.transaction(async (tx) => tx.emit(AddressChanged, { customerId, city }));
}

async function until(holds: (status: DureStatus) => boolean): Promise<void> {
  while (!holds(await dure.status())) await delay(20);
}

async function addresses(): Promise<string> {
  const { rows } = await pool.query<{ line: string }>(
    "select customer_id || ': ' || city as line from address order by customer_id",
  );
  return rows.map((row) => row.line).join(", ");
}
