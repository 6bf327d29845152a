import { createDure } from "dure";
import { postgresStore } from "dure/postgres";
import type { BenchCase } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { loadBacklog } from "../drain.ts";
import { ratioFigure } from "../figure.ts";
import { untilTrue } from "../load.ts";
import { Series } from "../measure.ts";
import { openRedis } from "../redis.ts";
import { text } from "../service.ts";

const work = "drain to Redis Streams, 10,000 keys";
const bare = "bare client, XADD pipelined by 1,000";
const keys = 10_000;

/** P5 on Redis Streams: how fast a backlog of ordered events is published, beside the bare client. */
export const measureRedisDrain: BenchCase = async ({ options, server, progress }) => {
  await using redis = await openRedis();
  await using database = await openDatabase(server, "redis_drain");
  const { pool } = database;
  const series = new Series();
  const total = options.backlog;
  for (let round = 1; round <= options.rounds; round += 1) {
    await loadBacklog(pool, total, keys);
    await settle(pool);
    await redis.flush();
    series.add(bare, await redis.addBare(total, text));
    await redis.flush();
    const transport = await redis.open();
    const relay = createDure({ service: "bench", store: postgresStore({ pool }), transport });
    const startedAt = performance.now();
    await relay.start();
    try {
      await untilTrue("all is published", async () => (await redis.published()) >= total);
    } finally {
      await relay.stop();
    }
    const rate = (total * 1_000) / (performance.now() - startedAt);
    series.add(work, rate);
    progress(`P5 on Redis, round ${round}/${options.rounds}: ${Math.round(rate)}/s`);
  }
  return [ratioFigure(series, "P5", { work, base: bare, of: bare })];
};
