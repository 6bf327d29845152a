/** A process that takes permits. It does what its standard input says, line by line, and reports on its output. */
import { createInterface } from "node:readline";
import pg from "pg";
import { createDure, isDureError, type Permit } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";

const url = process.env["DURE_CHILD_URL"] ?? "";
const leaseMs = Number(process.env["DURE_CHILD_LEASE_MS"] ?? 1_000);
const pool = new pg.Pool({ connectionString: url, max: 4 });
pool.on("error", () => undefined);
const dure = createDure({
  service: process.env["DURE_CHILD_NAME"] ?? "child",
  store: postgresStore({ pool }),
  semaphores: { leaseMs },
});
const size = { permits: 2, lineMax: 10, waitMs: 60_000 };
const held = new Map<string, Permit>();

const say = (message: Readonly<Record<string, string>>): void => {
  console.log(JSON.stringify(message));
};

async function take(name: string): Promise<void> {
  try {
    const permit = await dure.semaphores.acquire("provider", size);
    held.set(name, permit);
    permit.signal.addEventListener("abort", () => {
      const reason: unknown = permit.signal.reason;
      say({ lost: name, code: isDureError(reason) ? reason.code : "none" });
    });
    say({ held: name });
  } catch (error) {
    say({ refused: name, code: isDureError(error) ? error.code : String(error) });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [what, name = ""] = line.split(" ");
  if (what === "take") void take(name);
  if (what === "give") {
    await held.get(name)?.release();
    say({ given: name });
  }
  if (what === "stop") break;
}
await Promise.all([...held.values()].map((permit) => permit.release()));
await dure.stop();
await pool.end();
process.exit(0);
