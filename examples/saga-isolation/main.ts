// Two sagas want one room: the second learns who has it. The first dies, its lock expires, and it is told.
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createDure, event } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresGuardedTable, postgresSemanticLocks } from "dure/postgres";
import { postgresStore, postgresTransport } from "dure/postgres";
import pg from "pg";
import { z } from "zod";

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("hotel") });
await migrate({ pool });
await pool.query("create table room (id int primary key, status text)");
await pool.query("insert into room values (12, 'FREE'), (13, 'SOLD')");

const LockExpired = event("lock.expired", {
  version: 1,
  schema: z.object({ sagaId: z.string(), resource: z.string() }),
  key: (lock) => lock.sagaId,
});
const locks = postgresSemanticLocks();
const rooms = postgresGuardedTable({ table: "room", statuses: ["FREE", "SOLD"] });
const transport = postgresTransport({ pool });
const dure = createDure({ service: "hotel", store: postgresStore({ pool }), transport });
const told = Promise.withResolvers<void>();
dure.on(LockExpired, {}, async ({ data }) => {
  console.log(`  ${data.sagaId} is told: your lock on ${data.resource} has expired`);
  told.resolve();
});
await dure.start();
console.log("two sagas want room 12, and one of them room 13:");
console.log(`  ${await reserve(12, "SAGA-1", 2_000)}`);
console.log(`  ${await reserve(12, "SAGA-2")}`);
console.log(`  ${await reserve(13, "SAGA-2")}`);

console.log("SAGA-1 dies; when its lock has expired the sweeper comes:");
for (let leftMs = 1; leftMs > 0; await sleep(leftMs)) {
  leftMs = Math.max((await locks.read(pool, { resource: "room:12" }))?.remainingMs ?? 0, 0);
}
await dure.transaction(async (tx) => {
  // Freed and told in one commit: never one without the other.
  for (const { owner, resource } of await locks.sweepExpired(tx)) {
    tx.emit(LockExpired, { sagaId: owner, resource });
  }
});
await told.promise;
console.log(`  ${await reserve(12, "SAGA-2")}`);

console.log("SAGA-1 was not dead, only slow, and goes on under its old token; then SAGA-2 does:");
console.log(`  ${await sell(12, "SAGA-1", 1)}`);
console.log(`  ${await sell(12, "SAGA-2", 2)}`);

await dure.stop();
await transport.close();
await pool.end();
await server.stop();
await rm("./data", { recursive: true });

function reserve(room: number, owner: string, leaseMs = 60_000): Promise<string> {
  return dure.transaction(async (tx) => {
    const found = await tx.query("select status from room where id = $1", [room]);
    if (found.rows[0]?.["status"] === "SOLD") return `${owner}: room ${room} is sold out`;
    const outcome = await locks.acquire(tx, { resource: `room:${room}`, owner, leaseMs });
    if (outcome.kind === "busy") return `${owner}: try again`;
    if (outcome.kind !== "held-by-another") return `${owner} has it, token ${outcome.lock.token}`;
    return `${owner}: room ${room} is held by ${outcome.lock.owner}, try later`;
  });
}

function sell(room: number, owner: string, token: number): Promise<string> {
  return dure.transaction(async (tx) => {
    const held = await locks.confirm(tx, { resource: `room:${room}`, owner, token });
    if (held.kind !== "confirmed") return `${owner} is refused: ${held.kind}`;
    const sold = await rooms.transition(tx, { id: room, from: ["FREE"], to: "SOLD" });
    return `${owner}: ${held.lock.state}, the room is ${sold.kind} to SOLD`;
  });
}
