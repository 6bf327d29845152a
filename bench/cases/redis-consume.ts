import { createDure } from "dure";
import { postgresStore } from "dure/postgres";
import type { BenchCase } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { loadBacklog } from "../drain.ts";
import { ratioFigure } from "../figure.ts";
import { rotate, untilCount, untilTrue } from "../load.ts";
import { Series } from "../measure.ts";
import { openRawInserts, raw } from "../raw.ts";
import { openRedis } from "../redis.ts";
import { Measured } from "../service.ts";

const work = "consume from Redis Streams, defaults";

/** P7 on Redis Streams: how fast messages that wait there are handled, one insert each; over the second half. */
export const measureRedisConsume: BenchCase = async ({ options, server, progress }) => {
  await using redis = await openRedis();
  await using database = await openDatabase(server, "redis_consume");
  await using rawInserts = await openRawInserts(server, "redis_consume_raw");
  const { pool } = database;
  const store = postgresStore({ pool });
  await pool.query("create table consumed (consumer text, message_id text, data text)");
  const total = options.messages;
  await loadBacklog(pool, total, 10_000);
  const relay = createDure({ service: "bench", store, transport: await redis.open() });
  await relay.start();
  await untilTrue("all is published", async () => (await redis.published()) >= total);
  await relay.stop();
  await settle(pool);
  const series = new Series();
  for (let round = 1; round <= options.rounds; round += 1) {
    await pool.query("truncate consumed");
    await rawInserts.empty();
    const rawRates = await rotate([rawInserts], { seconds: options.seconds / 2, slices: 1 });
    series.add(raw, rawRates.get(raw) ?? Number.NaN);
    const transport = await redis.open();
    const dure = createDure({ service: "bench", store, transport, relay: false });
    const half = Math.floor(total / 2);
    let count = 0;
    let halfAt = 0;
    dure.on(Measured, { group: `round-${round}` }, async (message, tx) => {
      await tx.client.query({
        name: "consume",
        text: "insert into consumed (consumer, message_id, data) values ($1, $2, $3)",
        values: ["redis", message.id, message.data.text],
      });
      count += 1;
      if (count === half) halfAt = performance.now();
    });
    await dure.start();
    await untilCount("handled messages", () => count, total);
    const rate = ((total - half) * 1_000) / (performance.now() - halfAt);
    await dure.stop();
    series.add(work, rate);
    progress(`P7 on Redis, round ${round}/${options.rounds}: ${Math.round(rate)}/s`);
  }
  return [ratioFigure(series, "P7", { work, base: raw, of: raw, atLeast: 1 })];
};
