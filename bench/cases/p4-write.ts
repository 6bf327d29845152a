import { fromPg } from "dure/transaction";
import type { Pool } from "pg";
import { createBusinessTables, dureTransaction, insertPlain, ownTransaction } from "../business.ts";
import type { BenchCase, BenchContext } from "../context.ts";
import { CpuMeter } from "../cpu.ts";
import { openDatabase, settle } from "../database.ts";
import { empty } from "../drain.ts";
import { ratioFigure } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { rotate } from "../load.ts";
import type { Variant } from "../load.ts";
import { Series } from "../measure.ts";
import { openGraphileWorker } from "../peers/graphile-worker.ts";
import { openPgBoss } from "../peers/pg-boss.ts";
import { openTransactionalOutbox } from "../peers/pg-transactional-outbox.ts";
import { openRawInserts, raw } from "../raw.ts";
import {
  createNullSink,
  Measured,
  randomData,
  relayingService,
  writingService,
} from "../service.ts";

const without = "no event";
const plain = "plain insert";
const one = "1 event, dure.transaction";
const five = "5 events, dure.transaction";
const own = "1 event, outbox.emit in own BEGIN";
const graphile = "graphile-worker add_job";
const boss = "pg-boss send";
const transactionalOutbox = "pg-transactional-outbox";
const relayed = "1 event, relay in the same process";
const withoutBesideRelay = "no event, beside that relay";

const cpu = (name: string): string => `CPU: ${name}`;
const cpuOfServer = (name: string): string => `CPU of PostgreSQL: ${name}`;
const cpuOfNode = (name: string): string => `CPU of Node: ${name}`;

/** P4: what an event costs in a business transaction, beside a plain insert and beside the peers. */
export const measureWrites: BenchCase = async (context) => {
  const { options, server, progress } = context;
  await using database = await openDatabase(server, "write");
  const { pool } = database;
  await createBusinessTables(pool);
  await using rawInserts = await openRawInserts(server, "write_raw");
  await using graphilePeer = await openGraphileWorker(pool);
  await using bossPeer = await openPgBoss(pool);
  const outboxPeer = await openTransactionalOutbox(pool, "write");
  const dure = writingService(pool);
  const variant = (name: string, work: () => Promise<void>): Variant => ({ name, work });
  const variants: readonly Variant[] = [
    rawInserts,
    variant(without, ownTransaction(pool)),
    variant(plain, ownTransaction(pool, insertPlain)),
    variant(one, dureTransaction(dure)),
    variant(five, dureTransaction(dure, [1, 2, 3, 4, 5])),
    variant(
      own,
      ownTransaction(pool, (client) => dure.outbox.emit(fromPg(client), Measured.of(randomData()))),
    ),
    variant(
      graphile,
      ownTransaction(pool, (client) => graphilePeer.add(client, randomData())),
    ),
    variant(
      boss,
      ownTransaction(pool, (client) => bossPeer.send(client, randomData())),
    ),
    variant(
      transactionalOutbox,
      ownTransaction(pool, (client) => outboxPeer.store(client, randomData())),
    ),
  ];
  const series = new Series();
  const meter = new CpuMeter(server.pid);
  progress("P4 warm-up");
  await rotate(variants, { seconds: 0.5, slices: 1 });
  for (let round = 1; round <= options.rounds; round += 1) {
    await Promise.all([rawInserts.empty(), graphilePeer.empty(), outboxPeer.empty()]);
    await bossPeer.empty();
    await pool.query("truncate business, plain_outbox");
    await empty(pool);
    await settle(pool);
    const rates = await rotate(variants, options, meter);
    for (const [name, rate] of rates) series.add(name, rate);
    addCosts(series, meter);
    await empty(pool);
    await measureBesideRelay(context, pool, series);
    const [withOne, withNone] = [one, without].map((name) => Math.round(rates.get(name) ?? 0));
    progress(
      `P4 round ${round}/${options.rounds}: ${withOne}/s with 1 event, ${withNone}/s without`,
    );
  }
  await dure.stop();
  return figures(series);
};

function addCosts(series: Series, meter: CpuMeter): void {
  for (const [name, { node, postgres }] of meter.take()) {
    series.add(cpu(name), node + postgres);
    series.add(cpuOfNode(name), node);
    series.add(cpuOfServer(name), postgres);
  }
}

/** For information: the relay shares the process and the machine. */
async function measureBesideRelay(
  { options }: BenchContext,
  pool: Pool,
  series: Series,
): Promise<void> {
  const relaying = relayingService(pool, createNullSink());
  await relaying.start();
  try {
    const variants = [
      { name: withoutBesideRelay, work: ownTransaction(pool) },
      { name: relayed, work: dureTransaction(relaying) },
    ];
    for (const [name, rate] of await rotate(variants, options)) series.add(name, rate);
  } finally {
    await relaying.stop();
  }
}

function figures(series: Series): readonly Figure[] {
  const figure = (work: string, base: string, atLeast?: number): Figure =>
    ratioFigure(series, "P4", { work, base, ...(atLeast !== undefined && { atLeast }) });
  const cost = (name: (work: string) => string, work: string, base: string): Figure =>
    ratioFigure(series, "P4", { work: name(work), base: name(base), of: base, unit: "µs" });
  return [
    figure(without, raw),
    figure(plain, without),
    figure(one, plain, 0.8),
    figure(one, without, 0.55),
    figure(five, without, 0.45),
    figure(own, plain),
    figure(own, without),
    figure(relayed, withoutBesideRelay),
    figure(graphile, without),
    figure(boss, without),
    figure(transactionalOutbox, without),
    figure(one, graphile),
    figure(one, boss),
    figure(one, transactionalOutbox),
    ...(series.has(cpu(one))
      ? [
          cost(cpu, plain, without),
          cost(cpu, one, without),
          cost(cpuOfServer, one, without),
          cost(cpuOfNode, one, without),
          cost(cpu, one, plain),
          cost(cpu, five, without),
          cost(cpu, transactionalOutbox, without),
        ]
      : []),
  ];
}
