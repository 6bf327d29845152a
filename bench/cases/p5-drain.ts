import type { BenchCase } from "../context.ts";
import { openDatabase, settle } from "../database.ts";
import { drain, loadBacklog } from "../drain.ts";
import { ratioFigure } from "../figure.ts";
import { rotate } from "../load.ts";
import { Series } from "../measure.ts";
import { openGraphileWorker } from "../peers/graphile-worker.ts";
import { openRawInserts, raw } from "../raw.ts";
import { text } from "../service.ts";

const manyKeys = 10_000;
const fewKeys = 10;

const name = (keys: number): string => `drain, ${keys.toLocaleString("en-US")} keys`;
const fromStart = (keys: number): string => `${name(keys)}, from start()`;
const peer = "graphile-worker tuned";
const graphile = (keys: number): string => `${peer}, beside ${keys.toLocaleString("en-US")} keys`;
const rawBeside = (keys: number): string => `${raw}, beside ${keys.toLocaleString("en-US")} keys`;

/** P5: how fast a backlog of ordered events is published to nothing, in turn with graphile-worker. */
export const measureDrain: BenchCase = async ({ options, server, progress }) => {
  await using database = await openDatabase(server, "drain");
  await using peerDatabase = await openDatabase(server, "drain_peer");
  await using rawInserts = await openRawInserts(server, "drain_raw");
  await using worker = await openGraphileWorker(peerDatabase.pool);
  const { pool } = database;
  const series = new Series();
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const keys of [manyKeys, fewKeys]) {
      await loadBacklog(pool, options.backlog, keys);
      await settle(pool);
      await rawInserts.empty();
      const rawRates = await rotate([rawInserts], { seconds: options.seconds / 2, slices: 1 });
      series.add(rawBeside(keys), rawRates.get(raw) ?? Number.NaN);
      const rates = await drain(pool, options.backlog);
      series.add(name(keys), rates.fromFirst);
      series.add(fromStart(keys), rates.fromStart);
      await worker.empty();
      await worker.load(options.backlog, (n) => ({ id: `k${n % keys}`, n, text }));
      await settle(peerDatabase.pool);
      const peerRate = await worker.drain(options.backlog);
      series.add(graphile(keys), peerRate);
      progress(
        `P5 round ${round}/${options.rounds}, ${keys} keys: ${Math.round(rates.fromFirst)}/s, graphile-worker ${Math.round(peerRate)}/s`,
      );
    }
  }
  const figure = ratioFigure.bind(undefined, series, "P5");
  return [
    figure({ work: name(manyKeys), base: graphile(manyKeys), of: peer, atLeast: 2 }),
    figure({ work: name(manyKeys), base: rawBeside(manyKeys), of: raw, atLeast: 7 }),
    figure({ work: fromStart(manyKeys), base: rawBeside(manyKeys), of: raw }),
    figure({ work: name(fewKeys), base: graphile(fewKeys), of: peer, atLeast: 1 }),
    figure({ work: name(fewKeys), base: rawBeside(fewKeys), of: raw }),
    figure({ work: fromStart(fewKeys), base: rawBeside(fewKeys), of: raw }),
    figure({ work: graphile(manyKeys), base: rawBeside(manyKeys), of: raw }),
  ];
};
