import type { Dure } from "dure";
import type { PoolClient } from "pg";
import { createBusinessTables, dureTransaction } from "./business.ts";
import type { BenchContext } from "./context.ts";
import { settle } from "./database.ts";
import type { Database } from "./database.ts";
import { drain, empty, loadBacklog } from "./drain.ts";
import { durationFigure } from "./figure.ts";
import type { Figure } from "./figure.ts";
import { rotate } from "./load.ts";
import { median, medianInterval, ratios, Series } from "./measure.ts";
import { writingService } from "./service.ts";

const keys = 10_000;
const slicesPerPair = 4;

/** The two databases of a comparison. */
export interface Pair {
  /** As anyone has it. */
  readonly plain: Database;
  /** With the burden whose cost is asked for. */
  readonly burdened: Database;
}

/** What stands in the table about a comparison. */
export interface PairNames {
  readonly caseName: string;
  /** The burden, in a few words. */
  readonly burden: string;
  /** The interval of the ratio must contain 1 or lie above this. */
  readonly above: number;
}

/**
 * Writes (P4) and drains (P5) on both sides, pair after pair, each beginning with the other side, and
 * judges the ratio by its 95 % interval.
 */
export async function measurePairs(
  context: BenchContext,
  { plain, burdened }: Pair,
  names: PairNames,
): Promise<readonly Figure[]> {
  const { options, progress } = context;
  const { caseName, burden } = names;
  const sides = [side("plain", plain), side("burdened", burdened)];
  const writes = new Series();
  const drains = new Series();
  const looks = new Series();
  for (let pair = 1; pair <= options.pairs; pair += 1) {
    const inTurn = pair % 2 === 0 ? sides.toReversed() : sides;
    for (const { pool } of inTurn) await pool.query("checkpoint");
    const rates = await rotate(
      inTurn.map(({ name, dure }) => ({ name, work: dureTransaction(dure) })),
      { seconds: options.pairSeconds, slices: slicesPerPair },
    );
    for (const [name, rate] of rates) writes.add(name, rate);
    for (const { pool } of inTurn) {
      await empty(pool);
      await loadBacklog(pool, options.pairBacklog, keys);
      await settle(pool);
    }
    for (const { name, pool, dure } of inTurn) {
      drains.add(name, (await drain(pool, options.pairBacklog)).fromFirst);
      const askedAt = performance.now();
      await dure.status();
      looks.add(name, performance.now() - askedAt);
    }
    progress(
      `${caseName} pair ${pair}/${options.pairs}: writing ${lastRatio(writes)}, draining ${lastRatio(drains)}`,
    );
  }
  for (const { dure } of sides) await dure.stop();
  return [
    pairFigure(writes, `1 event (P4), ${burden}`, names),
    pairFigure(drains, `drain (P5), ${burden}`, names),
    { ...durationFigure(looks, caseName, { work: "burdened" }), work: `status(), ${burden}` },
    { ...durationFigure(looks, caseName, { work: "plain" }), work: "status(), other database" },
  ];
}

/** Makes the tables of the business on both sides. */
export async function preparePair({ plain, burdened }: Pair): Promise<void> {
  await createBusinessTables(plain.pool);
  await createBusinessTables(burdened.pool);
}

function side(
  name: string,
  { pool }: Database,
): { name: string; pool: Database["pool"]; dure: Dure<PoolClient> } {
  return { name, pool, dure: writingService(pool) };
}

/** How the newest pair came out. */
export function lastRatio(series: Series): string {
  return (ratiosOf(series).at(-1) ?? Number.NaN).toFixed(2);
}

function ratiosOf(series: Series): readonly number[] {
  return ratios(series.values("burdened"), series.values("plain"));
}

/** The line of the table for a series of "plain" and "burdened", pair by pair. */
export function pairFigure(series: Series, work: string, { caseName, above }: PairNames): Figure {
  const interval = medianInterval(ratiosOf(series));
  const isMet = (interval.low <= 1 && interval.high >= 1) || interval.low > above;
  return {
    caseName,
    work,
    value: median(series.values("burdened")),
    unit: "/s",
    of: "the same without, other database",
    spread: interval,
    coverage: interval.coverage,
    target: { text: `contains 1 or > ${above}`, isMet },
  };
}
