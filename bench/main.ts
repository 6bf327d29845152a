// Measures the write path and the drain against raw inserts, in rounds of one run: `npm run bench [-- --rounds 3 --json]`.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createDure, event } from "dure";
import type { Transport } from "dure";
import { startEmbeddedPostgres } from "dure/embedded";
import { migrate, postgresStore } from "dure/postgres";
import { Pool } from "pg";
import { z } from "zod";

const { values: args } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "2" },
    backlog: { type: "string", default: "50000" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(args.rounds);
const writers = 16;

const dataDir = join(await mkdtemp(join(tmpdir(), "dure-bench-")), "data");
const postgres = await startEmbeddedPostgres({ dataDir });
const pool = new Pool({
  connectionString: await postgres.createDatabase("bench"),
  max: writers + 4,
});
await migrate({ pool });
await pool.query(`
  create table raw_row (id bigint generated always as identity primary key, data text);
  create table business (id bigint generated always as identity primary key, data text);
  create table plain_outbox (id bigint generated always as identity primary key, topic text, key text, data text, at timestamptz default now());
  create index on plain_outbox (at)`);

const Measured = event("bench.measured", {
  version: 1,
  schema: z.object({ id: z.string(), text: z.string() }),
  key: (data) => data.id,
});
const text = "x".repeat(200);
let sunk = 0;
const nullSink: Transport = {
  name: "null",
  check: () => Promise.resolve(),
  close: () => Promise.resolve(),
  publish(messages) {
    sunk += messages.length;
    return Promise.resolve(messages.map(() => ({ kind: "accepted" }) as const));
  },
  subscribe: () => Promise.reject(new Error("the null sink has no subscribers")),
};
const dure = createDure({ service: "bench", store: postgresStore({ pool }) });

/** How often per second `work` is done by all writers together. */
async function rate(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  const until = startedAt + Number(args.seconds) * 1_000;
  let count = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() < until) {
      await work();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  return (count * 1_000) / (performance.now() - startedAt);
}

function business(
  extra: (client: { query(text: string, params: unknown[]): Promise<unknown> }) => Promise<unknown>,
): () => Promise<void> {
  return async () => {
    const client = await pool.connect();
    try {
      await client.query("begin");
      await client.query("insert into business (data) values ($1)", [text]);
      await extra(client);
      await client.query("commit");
    } finally {
      client.release();
    }
  };
}

const emit = (count: number) => (): Promise<void> =>
  dure.transaction(async (tx) => {
    await tx.query("insert into business (data) values ($1)", [text]);
    for (let index = 0; index < count; index += 1) {
      tx.emit(Measured, { id: `k${Math.floor(Math.random() * 10_000)}`, text });
    }
  });

/** Events per second with which a fresh relay empties the backlog into nothing. */
async function drain(keys: number): Promise<number> {
  const total = Number(args.backlog);
  await pool.query(
    `select dure.outbox_append('bench', (
       select jsonb_agg(jsonb_build_object('id', gen_random_uuid(), 'topic', 'bench', 'key', 'k' || ((n + chunk * 500) % $2), 'type', 'bench.measured', 'version', 1, 'data', '{"id":"1","text":"' || repeat('x', 200) || '"}'))
       from generate_series(1, 500) n), true)
     from generate_series(1, $1::integer / 500) chunk`,
    [total, keys],
  );
  sunk = 0;
  const relay = createDure({
    service: "bench",
    store: postgresStore({ pool }),
    transport: nullSink,
  });
  const startedAt = performance.now();
  await relay.start();
  while ((await relay.status()).pending > 0 || sunk === 0)
    await new Promise((resolve) => setTimeout(resolve, 10));
  const taken = performance.now() - startedAt;
  await relay.stop();
  return (sunk * 1_000) / taken;
}

const cases: readonly { readonly name: string; readonly run: () => Promise<number> }[] = [
  {
    name: "raw insert",
    run: () => rate(() => pool.query("insert into raw_row (data) values ($1)", [text])),
  },
  { name: "transaction without event", run: () => rate(business(() => Promise.resolve())) },
  {
    name: "transaction with plain insert",
    run: () =>
      rate(
        business((client) =>
          client.query("insert into plain_outbox (topic, key, data) values ($1, $2, $3)", [
            "bench",
            "k",
            text,
          ]),
        ),
      ),
  },
  { name: "transaction with 1 event", run: () => rate(emit(1)) },
  { name: "transaction with 5 events", run: () => rate(emit(5)) },
  { name: "drain, 400 keys", run: () => drain(400) },
];

const results = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
for (let round = 1; round <= rounds; round += 1) {
  for (const { name, run } of cases) {
    const value = await run();
    results.get(name)?.push(value);
    process.stderr.write(`round ${round}/${rounds}  ${name}: ${Math.round(value)}/s\n`);
    await drainQuietly();
  }
}

/** What a case has left in the outbox does not count for the next one. */
async function drainQuietly(): Promise<void> {
  if ((await dure.status()).pending === 0) return;
  const relay = createDure({
    service: "bench",
    store: postgresStore({ pool }),
    transport: nullSink,
  });
  await relay.start();
  while ((await relay.status()).pending > 0)
    await new Promise((resolve) => setTimeout(resolve, 10));
  await relay.stop();
}

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((left, right) => left - right)[numbers.length >> 1] ?? 0;
const rows = cases.map(({ name }) => {
  const rates = results.get(name) ?? [];
  const ratio = (other: string): number =>
    median(rates.map((value, index) => value / (results.get(other)?.[index] ?? Number.NaN)));
  return {
    name,
    perSecond: Math.round(median(rates)),
    ofRaw: Number(ratio("raw insert").toFixed(2)),
    ofTransaction: Number(ratio("transaction without event").toFixed(2)),
    ofPlainInsert: Number(ratio("transaction with plain insert").toFixed(2)),
  };
});
if (args.json) console.log(JSON.stringify(rows, null, 2));
else console.table(rows);
await dure.stop();
await pool.end();
await postgres.stop();
await rm(join(dataDir, ".."), { recursive: true, force: true });
