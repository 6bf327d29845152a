/** A median with what lay around it. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** The value at the given share of the sorted values: 0.5 is the median of an odd number of values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  const index = Math.min(sorted.length - 1, Math.floor(sorted.length * share));
  return sorted[index] ?? Number.NaN;
}

/** The middle value, or the mean of the middle two; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const upper = sorted[sorted.length >> 1] ?? Number.NaN;
  if (sorted.length % 2 === 1) return upper;
  return ((sorted[sorted.length / 2 - 1] ?? Number.NaN) + upper) / 2;
}

/** The median with the smallest and the largest value. */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) };
}

/** Each value divided by the base of the same round. Throws when a round lacks one of the two. */
export function ratios(values: readonly number[], bases: readonly number[]): readonly number[] {
  if (values.length !== bases.length) {
    throw new Error(`${values.length} values cannot be paired with ${bases.length} bases`);
  }
  return values.map((value, index) => value / (bases[index] ?? Number.NaN));
}

/**
 * An interval that holds the true median with at least 95 %, whatever the distribution: between two
 * order statistics whose ranks the binomial distribution gives. Below 6 values there is none, and the
 * range of all values stands in, with the coverage that it has.
 */
export function medianInterval(values: readonly number[]): Spread & { readonly coverage: number } {
  const count = values.length;
  const sorted = values.toSorted((left, right) => left - right);
  let rank = 0;
  let tail = 0.5 ** count;
  // The chance of `rank` or fewer values below the median: half of what an interval may miss.
  for (let term = tail; rank + 1 < count / 2; rank += 1) {
    term *= (count - rank) / (rank + 1);
    if (tail + term > 0.025) break;
    tail += term;
  }
  const low = sorted[rank] ?? Number.NaN;
  const high = sorted[count - 1 - rank] ?? Number.NaN;
  return { median: median(values), low, high, coverage: 1 - 2 * tail };
}

/** What was measured, by name, one value per round. */
export class Series {
  readonly #values: Map<string, number[]> = new Map();

  add(name: string, value: number): void {
    const values = this.#values.get(name) ?? [];
    values.push(value);
    this.#values.set(name, values);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** Throws when nothing of that name was measured. */
  values(name: string): readonly number[] {
    const values = this.#values.get(name);
    if (values === undefined) throw new Error(`"${name}" was not measured`);
    return values;
  }

  /** The ratio of two names, taken round by round. */
  ratio(name: string, base: string): Spread {
    return spread(ratios(this.values(name), this.values(base)));
  }
}
