import { median, spread } from "./measure.ts";
import type { Series, Spread } from "./measure.ts";

/** One line of the table. */
export interface Figure {
  readonly caseName: string;
  readonly work: string;
  /** Of the rounds, the median. */
  readonly value: number;
  readonly unit: "/s" | "ms" | "µs" | "MB" | "% of a core";
  /** What the value is divided by, round by round; absent where the value itself is judged. */
  readonly of?: string;
  /** The ratio where there is one, else the value. Low and high: over all rounds, or the 95 % interval. */
  readonly spread: Spread;
  /** Of a confidence interval: how surely it holds the true median. */
  readonly coverage?: number;
  readonly target?: Target;
}

/** What is to be reached, and whether it was. */
export interface Target {
  readonly text: string;
  readonly isMet: boolean;
}

/** What was measured of `work` as a ratio of `base`, round by round; `of` is how the table calls the base. */
export function ratioFigure(
  series: Series,
  caseName: string,
  options: {
    readonly work: string;
    readonly base: string;
    readonly of?: string;
    readonly atLeast?: number;
    readonly unit?: Figure["unit"];
  },
): Figure {
  const { work, base, of = base, atLeast, unit = "/s" } = options;
  const ratio = series.ratio(work, base);
  return {
    caseName,
    work,
    value: median(series.values(work)),
    unit,
    of,
    spread: ratio,
    ...(atLeast !== undefined && {
      target: { text: `≥ ${atLeast}`, isMet: ratio.median >= atLeast },
    }),
  };
}

/** A duration in milliseconds, as it is. */
export function durationFigure(
  series: Series,
  caseName: string,
  options: { readonly work: string; readonly atMost?: number },
): Figure {
  return valueFigure(series, caseName, { ...options, unit: "ms" });
}

/** What is judged by itself and not by a ratio; less is better. */
export function valueFigure(
  series: Series,
  caseName: string,
  options: { readonly work: string; readonly unit: Figure["unit"]; readonly atMost?: number },
): Figure {
  const { work, unit, atMost } = options;
  const range = spread(series.values(work));
  return {
    caseName,
    work,
    value: range.median,
    unit,
    spread: range,
    ...(atMost !== undefined && {
      target: { text: `≤ ${atMost} ${unit}`, isMet: range.median <= atMost },
    }),
  };
}
