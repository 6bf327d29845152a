// The consumer of P8 in a process of its own: told the URL, it handles, and gives its moments back when asked.
import { createDure } from "dure";
import { postgresStore, postgresTransport } from "dure/postgres";
import { Pool } from "pg";
import { preciseNow } from "../latency.ts";
import { untilCount } from "../load.ts";
import { Measured } from "../service.ts";
import type { ChildAnswer, ChildRequest } from "./p8-latency.ts";

// Ctrl-C goes to both processes; this one ends with its parent.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit(0));
process.on("message", (request: ChildRequest) => void answer(request));

const handled = new Map<number, number>();

async function answer(request: ChildRequest): Promise<void> {
  switch (request.kind) {
    case "start":
      await start(request.url);
      send({ kind: "started" });
      break;
    case "report":
      await untilCount("handled events", () => handled.size, request.expected);
      send({ kind: "handled", handled: [...handled] });
      break;
  }
}

async function start(url: string): Promise<void> {
  const pool = new Pool({ connectionString: url, max: 12 });
  pool.on("error", () => undefined);
  const dure = createDure({
    service: "bench-consumer",
    store: postgresStore({ pool }),
    transport: postgresTransport({ pool }),
    relay: false,
  });
  dure.on(Measured, {}, ({ data: { n } }) => {
    handled.set(n, preciseNow());
  });
  await dure.start();
}

function send(message: ChildAnswer): void {
  process.send?.(message);
}
