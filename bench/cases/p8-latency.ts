import { createDure } from "dure";
import type { Dure } from "dure";
import { postgresStore, postgresTransport } from "dure/postgres";
import type { Pool, PoolClient } from "pg";
import { createBusinessTables, dureTransaction, ownTransaction } from "../business.ts";
import { forkChild } from "../child.ts";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase } from "../database.ts";
import { durationFigure } from "../figure.ts";
import { latencies, paceCommits, preciseNow } from "../latency.ts";
import { untilCount } from "../load.ts";
import { Series } from "../measure.ts";
import { openGraphileWorker } from "../peers/graphile-worker.ts";
import { Measured, randomData } from "../service.ts";

/** What the consumer in the other process is told. */
export type ChildRequest =
  | { readonly kind: "start"; readonly url: string }
  | { readonly kind: "report"; readonly expected: number };
/** What it answers. */
export type ChildAnswer =
  | { readonly kind: "started" }
  | { readonly kind: "handled"; readonly handled: readonly (readonly [number, number])[] };

const together = "in one process";
const apart = "across processes";
const graphile = "graphile-worker, in one process";
const warmUpSeconds = 1;

/** One way from a commit to a handler, set up and ready. */
interface Path {
  readonly name: string;
  readonly commit: (n: number) => Promise<void>;
  /** Resolves when so many events have been handled in all. */
  readonly handled: (count: number) => Promise<ReadonlyMap<number, number>>;
}

/** P8: how long it takes from the acknowledged commit to the start of the handler, at 500 events a second. */
export const measureLatency: BenchCase = async (context) => {
  const series = new Series();
  await measureTogether(context, series);
  await measureApart(context, series);
  await measureGraphile(context, series);
  const figure = durationFigure.bind(undefined, series, "P8");
  return [
    figure({ work: `${together}, p50`, atMost: 1.5 }),
    figure({ work: `${together}, p99`, atMost: 6 }),
    figure({ work: `${apart}, p50`, atMost: 3 }),
    figure({ work: `${apart}, p99`, atMost: 10 }),
    figure({ work: `${graphile}, p50` }),
    figure({ work: `${graphile}, p99` }),
  ];
};

/** A short warm-up, and then the rounds, with everything running on. */
async function measure(context: BenchContext, series: Series, path: Path): Promise<void> {
  const { rounds, latencySeconds } = context.options;
  let from = 0;
  for (let round = 0; round <= rounds; round += 1) {
    const seconds = round === 0 ? warmUpSeconds : latencySeconds;
    const acknowledged = await paceCommits(path.commit, { seconds, from });
    from += acknowledged.size;
    const handled = await path.handled(from);
    if (round === 0) continue;
    const { p50, p99 } = latencies({ acknowledged, handled });
    series.add(`${path.name}, p50`, p50);
    series.add(`${path.name}, p99`, p99);
    context.progress(
      `P8 round ${round}/${rounds}, ${path.name}: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
    );
  }
}

async function measureTogether(context: BenchContext, series: Series): Promise<void> {
  await using database = await openDatabase(context.server, "latency_together");
  await createBusinessTables(database.pool);
  await using service = relayToLog(database.pool);
  const moments = new Map<number, number>();
  service.dure.on(Measured, {}, ({ data: { n } }) => {
    moments.set(n, preciseNow());
  });
  await service.dure.start();
  await measure(context, series, {
    name: together,
    commit: commitOne(service.dure),
    handled: (count) => reached(moments, count),
  });
}

async function measureApart(context: BenchContext, series: Series): Promise<void> {
  await using database = await openDatabase(context.server, "latency_apart");
  await createBusinessTables(database.pool);
  await using service = relayToLog(database.pool);
  await service.dure.start();
  await using child = await startChild(database.url);
  await measure(context, series, {
    name: apart,
    commit: commitOne(service.dure),
    handled: child.handled,
  });
}

async function measureGraphile(context: BenchContext, series: Series): Promise<void> {
  await using database = await openDatabase(context.server, "latency_graphile");
  await createBusinessTables(database.pool);
  await using peer = await openGraphileWorker(database.pool);
  const moments = new Map<number, number>();
  const runner = await peer.work(({ n }) => {
    moments.set(n, preciseNow());
  });
  try {
    await measure(context, series, {
      name: graphile,
      commit: (n) => ownTransaction(database.pool, (client) => peer.add(client, randomData(n)))(),
      handled: (count) => reached(moments, count),
    });
  } finally {
    await runner.stop();
  }
}

/** A business transaction with one event that carries its number. */
function commitOne(dure: Dure<PoolClient>): (n: number) => Promise<void> {
  return (n) => dureTransaction(dure, [n])();
}

async function reached(
  moments: ReadonlyMap<number, number>,
  count: number,
): Promise<ReadonlyMap<number, number>> {
  await untilCount("handled events", () => moments.size, count);
  return moments;
}

/** Writes and relays to a log in the same database. */
function relayToLog(pool: Pool): AsyncDisposable & { readonly dure: Dure<PoolClient> } {
  const transport = postgresTransport({ pool });
  const dure = createDure({ service: "bench", store: postgresStore({ pool }), transport });
  return {
    dure,
    async [Symbol.asyncDispose]() {
      await dure.stop();
      await transport.close();
    },
  };
}

async function startChild(
  url: string,
): Promise<AsyncDisposable & { readonly handled: Path["handled"] }> {
  const child = forkChild<ChildRequest, ChildAnswer>(
    new URL("p8-consumer-child.ts", import.meta.url),
  );
  await child.ask({ kind: "start", url });
  return {
    async handled(expected) {
      const answer = await child.ask({ kind: "report", expected });
      return new Map(answer.kind === "handled" ? answer.handled : []);
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
