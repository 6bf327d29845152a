import { createDure } from "dure";
import { postgresStore } from "dure/postgres";
import { createBusinessTables, dureTransaction } from "../business.ts";
import type { BenchCase } from "../context.ts";
import { openDatabase } from "../database.ts";
import { durationFigure } from "../figure.ts";
import { latencies, paceCommits, preciseNow } from "../latency.ts";
import { untilCount } from "../load.ts";
import { Series } from "../measure.ts";
import { openRedis } from "../redis.ts";
import { Measured } from "../service.ts";

const path = "by Redis Streams, in one process";

/** P8 on Redis Streams: from the acknowledged commit to the start of the handler, at 500 events a second. */
export const measureRedisLatency: BenchCase = async ({ options, server, progress }) => {
  await using redis = await openRedis();
  await using database = await openDatabase(server, "redis_latency");
  const { pool } = database;
  await createBusinessTables(pool);
  const transport = await redis.open();
  const dure = createDure({ service: "bench", store: postgresStore({ pool }), transport });
  const handled = new Map<number, number>();
  dure.on(Measured, {}, ({ data: { n } }) => void handled.set(n, preciseNow()));
  await dure.start();
  const series = new Series();
  let from = 0;
  try {
    for (let round = 0; round <= options.rounds; round += 1) {
      const seconds = round === 0 ? 1 : options.latencySeconds;
      const acknowledged = await paceCommits((n) => dureTransaction(dure, [n])(), {
        seconds,
        from,
      });
      from += acknowledged.size;
      await untilCount("handled events", () => handled.size, from);
      if (round === 0) continue;
      const { p50, p99 } = latencies({ acknowledged, handled });
      series.add(`${path}, p50`, p50);
      series.add(`${path}, p99`, p99);
      progress(
        `P8 on Redis, round ${round}/${options.rounds}: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
      );
    }
  } finally {
    await dure.stop();
  }
  const figure = durationFigure.bind(undefined, series, "P8");
  return [
    figure({ work: `${path}, p50`, atMost: 1.5 }),
    figure({ work: `${path}, p99`, atMost: 6 }),
  ];
};
