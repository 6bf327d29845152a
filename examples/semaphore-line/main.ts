// A provider takes one request at a time. Two processes send it five: one goes through, three wait in line, one is refused.
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createDure, isSemaphoreBusy } from "dure";
import type { Dure } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore } from "dure/postgres";
import pg from "pg";

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("payment") });
await migrate({ pool });
// As two processes would: they share a database and nothing else.
const one = createDure({ service: "one", store: postgresStore({ pool }) });
const two = createDure({ service: "two", store: postgresStore({ pool }) });

const limit = { permits: 1, lineMax: 3, waitMs: 60_000 };
const opened = Promise.withResolvers<void>();
const calls: Promise<void>[] = [];
console.log("five requests, of two processes:");
for (let n = 1; n <= 4; n += 1) {
  calls.push(charge(n, n % 2 === 1 ? one : two));
  await untilThereAre(n);
}
await charge(5, one);
console.log("the provider answers, and the line moves up, over both processes:");
opened.resolve();
await Promise.all(calls);

await one.semaphores.set("provider", { permits: 0 }, { actor: "ada", reason: "an outage" });
const [paused] = await two.semaphores.list();
console.log(`ada pauses it: ${paused?.permits} permits, the code says ${paused?.declaredPermits}`);

await Promise.all([one.stop(), two.stop()]);
await pool.end();
await server.stop();
await rm("./data", { recursive: true });

async function charge(n: number, dure: Dure<pg.PoolClient>): Promise<void> {
  try {
    await dure.semaphores.withPermit("provider", limit, async () => {
      console.log(`  request ${n} is at the provider`);
      await opened.promise;
    });
  } catch (error) {
    if (!isSemaphoreBusy(error)) throw error;
    console.log(`  request ${n} gets 503: ${error.lineLength} wait already`);
  }
}

/** So many hold a permit or wait. */
async function untilThereAre(count: number): Promise<void> {
  for (let there = 0; there < count; await sleep(5)) {
    there = (await one.semaphores.places("provider")).length;
  }
}
