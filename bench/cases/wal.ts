import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDure } from "dure";
import type { Dure, Transport } from "dure";
import { postgresStore, postgresTransport } from "dure/postgres";
import type { WalOptions } from "dure/postgres";
import { Client } from "pg";
import type { ClientConfig, PoolClient } from "pg";
import { PgoutputPlugin } from "pg-logical-replication";
import { debeziumIsMissing, startDebezium } from "../../tools/servers/debezium.ts";
import type { DebeziumRecord } from "../../tools/servers/debezium.ts";
import { createBusinessTables, dureTransaction } from "../business.ts";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import type { Database } from "../database.ts";
import { writeBacklog } from "../drain.ts";
import { durationFigure, ratioFigure } from "../figure.ts";
import { latencies, paceCommits, preciseNow } from "../latency.ts";
import { untilCount, untilTrue } from "../load.ts";
import { Series } from "../measure.ts";
import { createNullSink, Measured, writingService } from "../service.ts";

const keys = 10_000;
const looking = "relay that looks";
const byLog = "relay by the log";
const tableless = "relay by the log, tableless";
const debezium = "Debezium's engine";
const by = { actor: "bench", reason: "a backlog" };

type Kind = typeof looking | typeof byLog | typeof tableless;

/** P5 and P8 of the relays side by side, and of Debezium on the same outbox. Needs Java and Maven for the last. */
export const measureWal: BenchCase = async (context) => {
  const series = new Series();
  const { rounds } = context.options;
  const missing = await debeziumIsMissing();
  for (const kind of [looking, byLog, tableless] as const) {
    await measureRelay(context, series, kind);
  }
  if (missing === undefined) await measureDebezium(context, series);
  else context.progress(`WAL without Debezium: ${missing}`);
  const kinds = [byLog, tableless, ...(missing === undefined ? [debezium] : [])];
  context.progress(`WAL measured, ${rounds} rounds each`);
  return [
    ...kinds.map((kind) =>
      ratioFigure(series, "WAL", { work: drained(kind), base: drained(looking), of: looking }),
    ),
    ...[looking, ...kinds].flatMap((kind) =>
      ["p50", "p99"].map((part) =>
        durationFigure(series, "WAL", { work: `${kind}, to the publication, ${part}` }),
      ),
    ),
    ...[looking, byLog, tableless].flatMap((kind) =>
      ["p50", "p99"].map((part) =>
        durationFigure(series, "WAL", { work: `${kind}, to the handler, ${part}` }),
      ),
    ),
  ];
};

const drained = (kind: string): string => `${kind}, drain`;

function storeOf({ url, pool }: Database, kind: Kind) {
  const wal: WalOptions = {
    // The types of pg do not know the option, pg does.
    connect: () => new Client({ connectionString: url, replication: "database" } as ClientConfig),
    decoder: (options) => new PgoutputPlugin(options),
    tableless: kind === tableless,
  };
  return postgresStore({ pool, ...(kind !== looking && { wal }) });
}

async function measureRelay(context: BenchContext, series: Series, kind: Kind): Promise<void> {
  const { rounds, backlog } = context.options;
  const name = `wal_${kind.replaceAll(/\W+/g, "_")}`;
  await using database = await openDatabase(context.server, name);
  await createBusinessTables(database.pool);
  for (let round = 1; round <= rounds; round += 1) {
    const sink = createNullSink();
    // What comes twice counts once.
    const ids = new Set<string>();
    const transport: Transport = {
      ...sink.transport,
      publish(messages, options) {
        for (const { id } of messages) ids.add(id);
        return sink.transport.publish(messages, options);
      },
    };
    const dure = createDure({ service: "bench", store: storeOf(database, kind), transport });
    await dure.start();
    try {
      // It is there and reads, and may not publish yet: what is measured is the way from the outbox to the broker.
      await dure.relay.pause(by);
      await writeBacklog(dure, backlog, keys);
      await settle(database.pool);
      await dure.relay.resume(by);
      await untilCount("published events", () => ids.size, backlog);
      const seconds = (performance.now() - sink.firstAt) / 1_000;
      series.add(drained(kind), (backlog - sink.firstCount) / seconds);
    } finally {
      await dure.stop();
    }
  }
  await measureWaits(context, series, { kind, database });
}

async function measureWaits(
  context: BenchContext,
  series: Series,
  { kind, database }: { readonly kind: Kind; readonly database: Database },
): Promise<void> {
  const { rounds, latencySeconds } = context.options;
  const published = new Map<number, number>();
  const handled = new Map<number, number>();
  const log = postgresTransport({ pool: database.pool });
  const transport: Transport = {
    ...log,
    publish(messages, options) {
      for (const { data } of messages) published.set(numberOf(data), preciseNow());
      return log.publish(messages, options);
    },
  };
  const dure = createDure({ service: "bench", store: storeOf(database, kind), transport });
  dure.on(Measured, {}, ({ data: { n } }) => {
    if (n >= firstNumber) handled.set(n, preciseNow());
  });
  await dure.start();
  try {
    let from = firstNumber;
    for (let round = 0; round <= rounds; round += 1) {
      const seconds = round === 0 ? 1 : latencySeconds;
      const acknowledged = await paceCommits(commitOne(dure), { seconds, from });
      from += acknowledged.size;
      await untilCount("handled events", () => handled.size, from - firstNumber);
      if (round === 0) continue;
      report(context, series, `${kind}, to the publication`, { acknowledged, handled: published });
      report(context, series, `${kind}, to the handler`, { acknowledged, handled });
    }
  } finally {
    await dure.stop();
    await log.close();
    await dropSlot(database, "slot_name = dure.outbox_wal_slot()");
  }
}

/** The server would keep its log for the cases that follow. */
async function dropSlot({ pool }: Database, which: string): Promise<void> {
  await untilTrue("the slot's end", async () => {
    await pool.query(
      `select pg_terminate_backend(active_pid) from pg_replication_slots where ${which} and active_pid is not null`,
    );
    const { rows } = await pool.query(
      `select pg_drop_replication_slot(slot_name) from pg_replication_slots where ${which} and active_pid is null`,
    );
    if (rows.length > 0) return true;
    return (await pool.query(`select from pg_replication_slots where ${which}`)).rows.length === 0;
  });
}

async function measureDebezium(context: BenchContext, series: Series): Promise<void> {
  const { rounds, backlog, latencySeconds } = context.options;
  await using database = await openDatabase(context.server, "wal_debezium");
  const { pool } = database;
  await createBusinessTables(pool);
  await pool.query("select dure.outbox_wal_publish()");
  const workDir = await mkdtemp(join(tmpdir(), "dure-bench-debezium-"));
  const seen = new Map<number, number>();
  let count = 0;
  let firstAt = 0;
  const onRecord = ({ value }: DebeziumRecord): void => {
    if (count === 0) firstAt = performance.now();
    count += 1;
    const n = numberOf(value);
    // What it sends again after a restart is of a backlog.
    if (n >= firstNumber) seen.set(n, preciseNow());
  };
  const slot = "dure_bench_debezium";
  const dure = writingService(pool);
  try {
    await using engine = await startDebezium({
      databaseUrl: database.url,
      slot,
      workDir,
      onRecord,
    });
    // By the first event it is known that it reads.
    await untilTrue("Debezium's slot", () => isRead(database, slot));
    await writeBacklog(dure, 1, 1);
    await untilCount("Debezium's first record", () => count, 1);
    for (let round = 1; round <= rounds; round += 1) {
      engine.freeze();
      await writeBacklog(dure, backlog, keys);
      await settle(pool);
      count = 0;
      engine.thaw();
      await untilCount("Debezium's records", () => count, backlog);
      series.add(drained(debezium), (backlog * 1_000) / (performance.now() - firstAt));
    }
    let from = firstNumber;
    for (let round = 0; round <= rounds; round += 1) {
      const seconds = round === 0 ? 1 : latencySeconds;
      const acknowledged = await paceCommits(commitOne(dure), { seconds, from });
      from += acknowledged.size;
      await untilCount("Debezium's records", () => seen.size, from - firstNumber);
      if (round === 0) continue;
      const name = `${debezium}, to the publication`;
      report(context, series, name, { acknowledged, handled: seen });
    }
  } finally {
    await dure.stop();
    await rm(workDir, { recursive: true, force: true });
    await dropSlot(database, `slot_name = '${slot}'`);
  }
}

async function isRead({ pool }: Database, slot: string): Promise<boolean> {
  const { rows } = await pool.query(
    "select from pg_replication_slots where slot_name = $1 and active_pid is not null",
    [slot],
  );
  return rows.length > 0;
}

/** Above the numbers of every backlog. */
const firstNumber = 100_000_000;

function commitOne(dure: Dure<PoolClient>): (n: number) => Promise<void> {
  return (n) => dureTransaction(dure, [n])();
}

/** Of the event's data, however it is quoted on its way. */
function numberOf(data: string): number {
  return Number(/\\*"n\\*":\s?(\d+)/.exec(data)?.[1]);
}

function report(
  context: BenchContext,
  series: Series,
  name: string,
  moments: Parameters<typeof latencies>[0],
): void {
  const { p50, p99 } = latencies(moments);
  series.add(`${name}, p50`, p50);
  series.add(`${name}, p99`, p99);
  context.progress(`WAL ${name}: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`);
}
