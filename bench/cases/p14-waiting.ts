import type { BenchCase, BenchContext } from "../context.ts";
import { CpuMeter } from "../cpu.ts";
import { openDatabase, settle } from "../database.ts";
import type { Database } from "../database.ts";
import { valueFigure } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { pause } from "../load.ts";
import { Series } from "../measure.ts";
import { measurePairs, preparePair } from "../pairs.ts";
import { measureSagaPairs } from "../saga-pairs.ts";
import { sagaEngine } from "../sagas.ts";
import type { SagaEngine } from "../sagas.ts";

/** After the start, before anything is counted: what is looked at once is no cost of waiting. */
const afterStartMs = 5_000;
const idlePercentMax = 1;
const microsecondsPerPercent = 10_000;

/** P14: what it costs that very many sagas wait, each with a timer: while nothing is done, and what is done. */
export const measureWaiting: BenchCase = async (context) => {
  const { options, server, progress } = context;
  await using plain = await openDatabase(server, "not_waiting");
  await using burdened = await openDatabase(server, "waiting");
  await preparePair({ plain, burdened });
  await sagaEngine.growWaiting(burdened.pool, options.waitingSagas, (count) => {
    progress(`P14 has loaded ${count.toLocaleString("en-US")} waiting sagas`);
  });
  await settle(burdened.pool);
  const burden = `${options.waitingSagas.toLocaleString("en-US")} waiting sagas`;
  const names = { caseName: "P14", burden, above: 0.95 };
  return [
    ...(await measureIdle(context, { plain, burdened, burden, engine: sagaEngine })),
    ...(await measureSagaPairs(context, { plain, burdened }, names)),
    ...(await measurePairs(context, { plain, burdened }, names)),
  ];
};

/** Node and PostgreSQL together, of one core; without the burden for comparison. */
async function measureIdle(
  context: BenchContext,
  sides: { plain: Database; burdened: Database; burden: string; engine: SagaEngine },
): Promise<readonly Figure[]> {
  const { rounds } = context.options;
  const loaded = `idle, ${sides.burden}`;
  const empty = "idle, none";
  const series = new Series();
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, database] of [
      [empty, sides.plain],
      [loaded, sides.burdened],
    ] as const) {
      const percent = await idlePercent(context, database, sides.engine);
      // Only Linux says it.
      if (percent === undefined) return [];
      series.add(name, percent);
      context.progress(`P14 round ${round}/${rounds}, ${name}: ${percent.toFixed(2)} % of a core`);
    }
  }
  const figure = valueFigure.bind(undefined, series, "P14");
  return [
    figure({ work: loaded, unit: "% of a core", atMost: idlePercentMax }),
    figure({ work: empty, unit: "% of a core" }),
  ];
}

async function idlePercent(
  { options, server }: BenchContext,
  { pool }: Database,
  engine: SagaEngine,
): Promise<number | undefined> {
  const sagas = await engine.open(pool);
  await sagas.start();
  try {
    await pause(afterStartMs);
    const meter = new CpuMeter(server.pid);
    await meter.measure("idle", async () => {
      await pause(options.idleSeconds * 1_000);
      return options.idleSeconds;
    });
    const cost = meter.take().get("idle");
    return cost && (cost.node + cost.postgres) / microsecondsPerPercent;
  } finally {
    await sagas.stop();
  }
}
