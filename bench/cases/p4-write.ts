import type { Dure } from "dure";
import { fromPg } from "dure/transaction";
import type { Pool, PoolClient } from "pg";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { empty } from "../drain.ts";
import { rateFigure } from "../figure.ts";
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
  text,
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

/** Makes the tables of the business and of the plain outbox: two indexes, no key that anyone waits for. */
export async function createBusinessTables(pool: Pool): Promise<void> {
  await pool.query(`
    create table business (id bigint generated always as identity primary key, data text);
    create table plain_outbox (
      id bigint generated always as identity primary key,
      topic text, key text, data text, at timestamptz default now()
    );
    create index on plain_outbox (at)`);
}

const insertBusiness = "insert into business (data) values ($1)";

/** A transaction as anyone writes it with `pg`: every statement awaited. */
function ownTransaction(
  pool: Pool,
  name: string,
  extra?: (client: PoolClient) => Promise<unknown>,
): Variant {
  return {
    name,
    async work() {
      const client = await pool.connect();
      try {
        await client.query("begin");
        await client.query(insertBusiness, [text]);
        await extra?.(client);
        await client.query("commit");
      } finally {
        client.release();
      }
    },
  };
}

/** The same transaction with so many events, run by the library. */
export function dureTransaction(dure: Dure<PoolClient>, name: string, events: number): Variant {
  return {
    name,
    work: () =>
      dure.transaction(async (tx) => {
        await tx.query(insertBusiness, [text]);
        for (let count = 0; count < events; count += 1) tx.emit(Measured, randomData());
      }),
  };
}

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

  const variants: readonly Variant[] = [
    rawInserts,
    ownTransaction(pool, without),
    ownTransaction(pool, plain, (client) => {
      const { id, ...data } = randomData();
      const insert = "insert into plain_outbox (topic, key, data) values ($1, $2, $3)";
      return client.query(insert, ["bench", id, JSON.stringify({ id, ...data })]);
    }),
    dureTransaction(dure, one, 1),
    dureTransaction(dure, five, 5),
    ownTransaction(pool, own, (client) =>
      dure.outbox.emit(fromPg(client), Measured.of(randomData())),
    ),
    ownTransaction(pool, graphile, (client) => graphilePeer.add(client, randomData())),
    ownTransaction(pool, boss, (client) => bossPeer.send(client, randomData())),
    ownTransaction(pool, transactionalOutbox, (client) => outboxPeer.store(client, randomData())),
  ];
  const series = new Series();
  progress("P4 warm-up");
  await rotate(variants, { seconds: 0.5, slices: 1 });
  for (let round = 1; round <= options.rounds; round += 1) {
    await Promise.all([rawInserts.empty(), graphilePeer.empty(), outboxPeer.empty()]);
    await bossPeer.empty();
    await pool.query("truncate business, plain_outbox");
    await empty(pool);
    await settle(pool);
    const rates = await rotate(variants, options);
    for (const [name, rate] of rates) series.add(name, rate);
    await empty(pool);
    await measureBesideRelay(context, pool, series);
    progress(
      `P4 round ${round}/${options.rounds}: ${Math.round(rates.get(one) ?? 0)}/s with 1 event, ${Math.round(rates.get(without) ?? 0)}/s without`,
    );
  }
  await dure.stop();
  return figures(series);
};

/** For information: the relay shares the process and the machine. */
async function measureBesideRelay(
  { options }: BenchContext,
  pool: Pool,
  series: Series,
): Promise<void> {
  const relaying = relayingService(pool, createNullSink());
  await relaying.start();
  try {
    const rates = await rotate(
      [ownTransaction(pool, withoutBesideRelay), dureTransaction(relaying, relayed, 1)],
      options,
    );
    for (const [name, rate] of rates) series.add(name, rate);
  } finally {
    await relaying.stop();
  }
}

function figures(series: Series): readonly Figure[] {
  const figure = (work: string, base: string, atLeast?: number): Figure =>
    rateFigure(series, "P4", { work, base, ...(atLeast !== undefined && { atLeast }) });
  return [
    figure(raw, raw),
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
  ];
}
