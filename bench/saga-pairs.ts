import type { BenchContext } from "./context.ts";
import type { Figure } from "./figure.ts";
import { slice, takeTurns } from "./load.ts";
import { Series } from "./measure.ts";
import { lastRatio, pairFigure } from "./pairs.ts";
import type { Pair, PairNames } from "./pairs.ts";
import { countingSagas, sagaEngine } from "./sagas.ts";
import type { SagaLoad } from "./sagas.ts";

const sagasAtOnce = 64;
const slicesPerPair = 4;

/**
 * Runs sagas (P1) on both sides, pair after pair, each beginning with the other side, and judges the ratio
 * by its 95 % interval. Both services run on while the other side is measured.
 */
export async function measureSagaPairs(
  context: BenchContext,
  pair: Pair,
  names: PairNames,
): Promise<readonly Figure[]> {
  const plain = await sagaEngine.open(pair.plain.pool);
  const burdened = await sagaEngine.open(pair.burdened.pool);
  try {
    await Promise.all([plain.start(), burdened.start()]);
    const series = await measure(context, pair, { plain, burdened, caseName: names.caseName });
    return [pairFigure(series, `4 plain steps (P1), ${names.burden}`, names)];
  } finally {
    await Promise.all([plain.stop(), burdened.stop()]);
  }
}

async function measure(
  { options, progress }: BenchContext,
  pair: Pair,
  sides: { readonly plain: SagaLoad; readonly burdened: SagaLoad; readonly caseName: string },
): Promise<Series> {
  const series = new Series();
  const contenders = (["plain", "burdened"] as const).map((name) => {
    const run = countingSagas(sides[name]);
    return {
      name,
      run: (ms: number) => slice(() => run("plain"), { ms, writers: sagasAtOnce }),
    };
  });
  await takeTurns(contenders, { seconds: 1, slices: 1 });
  for (let number = 1; number <= options.pairs; number += 1) {
    const inTurn = number % 2 === 0 ? contenders.toReversed() : contenders;
    for (const { pool } of [pair.plain, pair.burdened]) await pool.query("checkpoint");
    const rates = await takeTurns(inTurn, {
      seconds: options.pairSeconds,
      slices: slicesPerPair,
    });
    for (const [name, rate] of rates) series.add(name, rate);
    progress(`${sides.caseName} pair ${number}/${options.pairs}: sagas ${lastRatio(series)}`);
  }
  return series;
}
