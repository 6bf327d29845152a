// A saga survives kill -9: a process dies in the middle of a step, another goes on, and nothing is done twice.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createDure, saga } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresParticipantBarrier, postgresStore } from "dure/postgres";
import pg from "pg";
import { z } from "zod";

const isVictim = process.argv[2] === "victim";
const server = isVictim ? undefined : await startEmbeddedPostgres({ dataDir: "./data/postgres" });
const url = process.argv[3] ?? (await server?.createDatabase("travel"));
const pool = new pg.Pool({ connectionString: url });

/** The other service, here in the same database: its barrier row commits with what it does. */
const hotel = createDure({ service: "hotel", store: postgresStore({ pool }) });
const barrier = postgresParticipantBarrier();
const book = (key: string): Promise<string> =>
  hotel.transaction(async (tx) => {
    const { kind } = await barrier.forward(tx, { key }, () =>
      tx.query("insert into booking (what) values ('hotel')"),
    );
    return kind;
  });

const trip = saga("trip", { version: 1, input: z.object({ name: z.string() }) })
  .step("take-order", {
    local: ({ tx }) => tx.query("insert into booking (what) values ('order')").then(() => "taken"),
    compensate: ({ tx }) => tx.query("delete from booking").then(() => undefined),
  })
  .pivot("book-hotel", {
    run: async ({ call }) => {
      const kind = await book(call.key);
      console.log(`attempt ${call.attempt}: ${kind}`);
      // The hotel is booked, and nobody knows: the worst moment.
      if (isVictim) process.kill(process.pid, "SIGKILL");
      return kind;
    },
  })
  .output(({ results }) => results["book-hotel"]);

const dure = createDure({
  service: "travel",
  store: postgresStore({ pool }),
  sagas: { definitions: [trip], leaseMs: 1_000 },
});

if (isVictim) {
  await dure.start();
  await dure.sagas.start(trip, { name: "Ada" }, { id: "TRIP-1" });
} else {
  await migrate({ pool });
  await pool.query("create table booking (what text)");
  const victim = spawn(
    process.execPath,
    [...process.execArgv, import.meta.filename, "victim", url ?? ""],
    {
      stdio: "inherit",
    },
  );
  const [, signal] = (await once(victim, "exit")) as [number | null, string | null];
  console.log(`the first process: ${signal}`);
  await dure.start();
  const outcome = await dure.sagas.outcome("TRIP-1");
  console.log(`the saga: ${JSON.stringify(outcome)}`);
  const { rows } = await pool.query<{ what: string }>("select what from booking");
  console.log(`bookings: ${rows.map(({ what }) => what).join(", ")}`);
  await dure.stop();
  await pool.end();
  await server?.stop();
  await rm("./data", { recursive: true });
}
