import { Admin, Consumer, Producer } from "@platformatic/kafka";
import { createDure, newId, systemClock } from "dure";
import type { Transport } from "dure";
import { kafkaTransport } from "dure/kafka";
import { postgresStore } from "dure/postgres";
import { kafkaIsMissing, startKafka } from "../../tools/servers/kafka.ts";
import { createBusinessTables, dureTransaction } from "../business.ts";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { loadBacklog } from "../drain.ts";
import { durationFigure, ratioFigure } from "../figure.ts";
import { latencies, paceCommits, preciseNow } from "../latency.ts";
import { rotate, untilCount } from "../load.ts";
import { Series } from "../measure.ts";
import { openRawInserts, raw } from "../raw.ts";
import { Measured, text } from "../service.ts";

const keys = 10_000;
const drained = "drain to Kafka, 10,000 keys";
const bare = "bare producer, the same records";
const consumed = "consume from Kafka";
const latency = "through Kafka, in one process";
const compression = "zstd";
/** As much as the relay publishes at a time. */
const together = 1_000;

/** Clients of one broker, and transports on them. */
interface Clients {
  readonly producer: Producer;
  readonly transport: Transport;
  close(): Promise<void>;
}

function openClients(brokers: readonly string[]): Clients {
  const connection = { clientId: "bench", bootstrapBrokers: [...brokers], retryDelay: 200 };
  const producer = new Producer(connection);
  const admin = new Admin(connection);
  const transport = kafkaTransport({
    producer,
    admin,
    createConsumer: (settings) => new Consumer({ ...connection, retries: 20, ...settings }),
    compression,
  });
  return {
    producer,
    transport,
    async close() {
      await transport.close();
      await producer.close();
      await admin.close();
    },
  };
}

/** P6, and P5, P7 and P8 on Kafka: a backlog is drained, read and handled; then single events are timed. */
export const measureKafka: BenchCase = async (context) => {
  const missing = await kafkaIsMissing();
  const named = process.env["DURE_KAFKA_BROKERS"]?.split(",");
  if (missing !== undefined && named === undefined) throw new Error(missing);
  const server = named === undefined ? await startKafka() : undefined;
  const clients = openClients(named ?? server?.brokers ?? []);
  const series = new Series();
  try {
    await measureThroughput(context, clients, series);
    await measureLatency(context, clients, series);
  } finally {
    await clients.close();
    await server?.stop();
  }
  return [
    ratioFigure(series, "P6", { work: drained, base: bare, atLeast: 0.6 }),
    ratioFigure(series, "P5", { work: drained, base: raw }),
    ratioFigure(series, "P7", { work: consumed, base: raw, atLeast: 1 }),
    durationFigure(series, "P8", { work: `${latency}, p50`, atMost: 1.5 }),
    durationFigure(series, "P8", { work: `${latency}, p99`, atMost: 6 }),
  ];
};

async function measureThroughput(
  { options, server, progress }: BenchContext,
  clients: Clients,
  series: Series,
): Promise<void> {
  await using database = await openDatabase(server, "kafka");
  await using rawInserts = await openRawInserts(server, "kafka_raw");
  const { pool } = database;
  await pool.query("create table consumed (id bigserial primary key, message_id text, data text)");
  const { transport } = clients;
  const store = postgresStore({ pool });
  let isFirst = true;
  for (let round = 1; round <= options.rounds; round += 1) {
    await loadBacklog(pool, options.backlog, keys);
    await settle(pool);
    await rawInserts.empty();
    const rawRates = await rotate([rawInserts], { seconds: options.seconds / 2, slices: 1 });
    series.add(raw, rawRates.get(raw) ?? Number.NaN);
    // The topic must be there before the bare producer begins, and its connection be open.
    if (isFirst) await produceBare(clients, together);
    isFirst = false;
    series.add(bare, await produceBare(clients, options.backlog));
    const counter = { count: 0, firstCount: 0, firstAt: 0 };
    const relay = createDure({ service: "bench", store, transport: counting(transport, counter) });
    await relay.start();
    await untilCount("published events", () => counter.count, options.backlog);
    const drainMs = performance.now() - counter.firstAt;
    await relay.stop();
    series.add(drained, ((options.backlog - counter.firstCount) * 1_000) / drainMs);
    series.add(consumed, await consume());
    progress(`P6 round ${round}/${options.rounds}`);
  }

  /** Handles a backlog; of what other rounds published the group has read everything. */
  async function consume(): Promise<number> {
    let count = 0;
    let halfAt = 0;
    const total = options.backlog;
    const half = Math.floor(total / 2);
    const dure = createDure({ service: "bench", store, transport, relay: false });
    dure.on(Measured, { group: "bench" }, async (message, tx) => {
      await tx.client.query({
        name: "consume",
        text: "insert into consumed (message_id, data) values ($1, $2)",
        values: [message.id, message.data.text],
      });
      count += 1;
      if (count === half) halfAt = performance.now();
    });
    await dure.start();
    await untilCount("handled messages", () => count, total);
    const rate = ((total - half) * 1_000) / (performance.now() - halfAt);
    await dure.stop();
    return rate;
  }
}

/** What a drain has published. */
interface Counter {
  count: number;
  firstCount: number;
  firstAt: number;
}

function counting(inner: Transport, counts: Counter): Transport {
  return {
    ...inner,
    async publish(messages, options) {
      const outcomes = await inner.publish(messages, options);
      if (counts.firstAt === 0 && messages.length > 0) {
        counts.firstAt = performance.now();
        counts.firstCount = messages.length;
      }
      counts.count += outcomes.filter(({ kind }) => kind === "accepted").length;
      return outcomes;
    },
  };
}

/** The same key, value and headers in size, acknowledged as ours are, a thousand at a time, to a topic of its own. */
async function produceBare({ producer, transport }: Clients, total: number): Promise<number> {
  const topic = "bare";
  const never = new AbortController().signal;
  const message = (n: number) => ({
    topic,
    key: Buffer.from(`k${n % keys}`),
    value: Buffer.from(JSON.stringify({ id: `k${n % keys}`, n, text })),
    headers: new Map(
      Array.from({ length: 10 }, (_, at) => [
        Buffer.from(`ce_header${at}`),
        Buffer.from(newId(systemClock)),
      ]),
    ),
  });
  // Makes the topic as ours are made.
  await transport.publish(
    [
      {
        id: newId(systemClock),
        source: "bench",
        topic,
        key: "k",
        type: "bare.made",
        version: 1,
        time: new Date().toISOString(),
        data: "{}",
        link: { kind: "unverified" },
      },
    ],
    { fences: [], signal: never },
  );
  const startedAt = performance.now();
  for (let from = 0; from < total; from += together) {
    const messages = Array.from({ length: Math.min(together, total - from) }, (_, index) =>
      message(from + index),
    );
    await producer.send({ messages, idempotent: true, acks: -1, compression });
  }
  return (total * 1_000) / (performance.now() - startedAt);
}

async function measureLatency(
  { options, server, progress }: BenchContext,
  { transport }: Clients,
  series: Series,
): Promise<void> {
  await using database = await openDatabase(server, "kafka_latency");
  await createBusinessTables(database.pool);
  const store = postgresStore({ pool: database.pool });
  const dure = createDure({ service: "bench", store, transport });
  const moments = new Map<number, number>();
  dure.on(Measured, { group: "latency", from: "latest" }, ({ data: { n } }) => {
    moments.set(n, preciseNow());
  });
  await dure.start();
  let from = 0;
  const commit = (n: number): Promise<void> => dureTransaction(dure, [n])();
  // The group must have joined before what it hears counts.
  while (moments.size === 0) {
    await commit(-1);
    await systemClock.sleep(200);
  }
  moments.clear();
  for (let round = 0; round <= options.rounds; round += 1) {
    const seconds = round === 0 ? 1 : options.latencySeconds;
    const acknowledged = await paceCommits(commit, { seconds, from });
    from += acknowledged.size;
    const isHeard = (): number => [...acknowledged.keys()].filter((n) => moments.has(n)).length;
    await untilCount("handled events", isHeard, acknowledged.size);
    if (round === 0) continue;
    const { p50, p99 } = latencies({ acknowledged, handled: moments });
    series.add(`${latency}, p50`, p50);
    series.add(`${latency}, p99`, p99);
    progress(`P8 round ${round}/${options.rounds}, ${latency}: p50 ${p50.toFixed(2)} ms`);
  }
  await dure.stop();
}
