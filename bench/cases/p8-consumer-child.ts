// The consumer of P8 in a process of its own: told the URL, it handles, and gives its moments back when asked.
import { createDure } from "dure";
import { postgresStore, postgresTransport } from "dure/postgres";
import { Pool } from "pg";
import { answerParent } from "../child.ts";
import { preciseNow } from "../latency.ts";
import { untilCount } from "../load.ts";
import { Measured } from "../service.ts";
import type { ChildAnswer, ChildRequest } from "./p8-latency.ts";

const handled = new Map<number, number>();

answerParent<ChildRequest, ChildAnswer>(async (request) => {
  switch (request.kind) {
    case "start":
      await start(request.url);
      return { kind: "started" };
    case "report":
      await untilCount("handled events", () => handled.size, request.expected);
      return { kind: "handled", handled: [...handled] };
  }
});

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
