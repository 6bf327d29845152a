/** A service in a process of its own that is sent the same request many times at once. Each line of its input is `<key> <count>`. */
import { createInterface } from "node:readline";
import pg from "pg";
import { order, orderRoute } from "./keyed-orders.ts";
import { createTestService } from "./service-fixture.ts";

/** What the requests of one key were answered. */
export interface KeyedAnswers {
  readonly key: string;
  /** Each different answer (status and bytes), and how often it was given. */
  readonly answers: Readonly<Record<string, number>>;
  readonly fresh: number;
}

const pool = new pg.Pool({ connectionString: process.env["DURE_CHILD_URL"], max: 10 });
const service = createTestService({ pool, relay: false });
const post = orderRoute(service.dure, { waitMsMax: 60_000 });

console.log(JSON.stringify({ event: "ready" }));
for await (const line of createInterface({ input: process.stdin })) {
  const [key = "", count = "0"] = line.split(" ");
  const responses = await Promise.all(
    Array.from({ length: Number(count) }, () => post(order("tea", { "idempotency-key": key }))),
  );
  const texts = await Promise.all(
    responses.map(async (each) => `${each.status} ${await each.text()}`),
  );
  const answers: Record<string, number> = {};
  for (const text of texts) answers[text] = (answers[text] ?? 0) + 1;
  const fresh = responses.filter(({ headers }) => !headers.has("idempotent-replayed")).length;
  console.log(JSON.stringify({ key, answers, fresh } satisfies KeyedAnswers));
}
await service.stop();
await pool.end();
