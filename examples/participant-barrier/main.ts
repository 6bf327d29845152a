// The callee's half of a saga step: repeated calls are answered again, late ones refused, early undos remembered.
import { rm } from "node:fs/promises";
import { createDure, isDureError } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresParticipantBarrier, postgresStore } from "dure/postgres";
import pg from "pg";

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("inventory") });
await migrate({ pool });
await pool.query("create table stock (item text primary key, left_over int)");
await pool.query("insert into stock values ('book', 10)");

const dure = createDure({ service: "inventory", store: postgresStore({ pool }) });
const barrier = postgresParticipantBarrier();

console.log("the saga reserves, and repeats the call because the answer was lost:");
await show(reserve("saga-1/reserve", 3));
await show(reserve("saga-1/reserve", 3));

console.log("it is undone, twice:");
await show(cancel("saga-1/cancel", "saga-1/reserve"));
await show(cancel("saga-1/cancel", "saga-1/reserve"));

console.log("a reservation that arrives after it was undone is refused:");
await show(cancel("saga-2/cancel", "saga-2/reserve"));
await show(reserve("saga-2/reserve", 3));

await pool.end();
await server.stop();
await rm("./data", { recursive: true });

/** The barrier's row, the stock and (if there were any) events commit together. */
function reserve(key: string, count: number): Promise<unknown> {
  return dure.transaction((tx) =>
    barrier.forward(tx, { key }, async () => {
      await tx.query("update stock set left_over = left_over - $1", [count]);
      return { reserved: count };
    }),
  );
}

function cancel(key: string, compensates: string): Promise<unknown> {
  return dure.transaction((tx) =>
    barrier.compensate(tx, { key, compensates }, async (answer) => {
      const { reserved } = answer as { readonly reserved: number };
      await tx.query("update stock set left_over = left_over + $1", [reserved]);
      return { returned: reserved };
    }),
  );
}

async function show(call: Promise<unknown>): Promise<void> {
  const outcome = await call.catch((error: unknown) =>
    isDureError(error) ? error.code : String(error),
  );
  const { rows } = await pool.query<{ left_over: number }>("select left_over from stock");
  console.log(`  ${JSON.stringify(outcome)}, ${rows[0]?.left_over} left`);
}
