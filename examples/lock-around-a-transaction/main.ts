// Two processes want one seat: the second waits until the first has committed. A holder that lost its lock commits nothing.
import { rm } from "node:fs/promises";
import { createDure, isDureError } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresLockGuard, postgresStore } from "dure/postgres";
import pg from "pg";

const server = await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const pool = new pg.Pool({ connectionString: await server.createDatabase("cinema") });
await migrate({ pool });
await pool.query("create table seat (id int primary key, taken_by text)");
await pool.query("insert into seat values (12, null), (13, null)");

// Two services on one database, as two processes would be.
const box = createDure({ service: "box-office", store: postgresStore({ pool }) });
const web = createDure({ service: "web", store: postgresStore({ pool }) });

console.log("ann and bob want seat 12 at the same moment:");
const answers = await Promise.all([
  take(box, 12, "ann"),
  new Promise((resolve) => setImmediate(resolve)).then(() => take(web, 12, "bob")),
]);
console.log(`  ${answers.filter((answer) => answer === "has it").length} has it`);
console.log(`  ${answers.filter((answer) => answer === "too late").length} is too late`);

console.log("the lock of seat 13 is given away while cat works under it:");
const late = box.locks.withLock("seat:13", {}, async ({ tx, token }) => {
  await tx.query("update seat set taken_by = 'cat' where id = 13");
  await web.locks.forceRelease("seat:13", { actor: "ann", reason: "cat does not answer" });
  await using next = await web.locks.acquire("seat:13");
  console.log(`  the next holder has a greater token: ${next.token > token}`);
});
console.log(`  cat: ${await outcomeOf(late)}`);
const { rows } = await pool.query<{ taken_by: string | null }>(
  "select taken_by from seat where id = 13",
);
console.log(`  seat 13 is taken by: ${rows[0]?.taken_by ?? "nobody"}`);

console.log("what is written elsewhere is guarded by the token:");
const guard = postgresLockGuard();
const old = await box.locks.acquire("report");
await old.release();
await using newer = await box.locks.acquire("report");
for (const { token, holder } of [newer, old]) {
  const write = box.transaction((tx) =>
    guard.assertNewest(tx, { resource: "report", token, holder }),
  );
  console.log(`  ${token === newer.token ? "newer" : "older"} token: ${await outcomeOf(write)}`);
}

await newer.release();
await box.stop();
await web.stop();
await pool.end();
await server.stop();
await rm("./data", { recursive: true });

function take(dure: typeof box, seat: number, customer: string): Promise<string> {
  return dure.locks.withLock(`seat:${seat}`, { waitMs: 5_000 }, async ({ tx }) => {
    const found = await tx.query("select taken_by from seat where id = $1", [seat]);
    if (found.rows[0]?.["taken_by"] !== null) return "too late";
    await tx.query("update seat set taken_by = $1 where id = $2", [customer, seat]);
    return "has it";
  });
}

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "done";
  } catch (error) {
    return isDureError(error) ? `refused, ${error.code}` : String(error);
  }
}
