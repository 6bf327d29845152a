import { assert } from "../core/errors.ts";

/** Positions from `from` to `to`, both included. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/**
 * What is known of one shard's positions: all up to `low` are done, and the ranges of `done` above it.
 * What lies between is a gap: a position that was drawn and not seen. Its writer may still commit, or has
 * rolled back; {@link ShardProgress.observe} tells them apart without waiting for anyone (ADR 0009).
 *
 * Pure bookkeeping: no I/O, no clock.
 */
export class ShardProgress {
  #low: number;
  #done: Range[];
  /** A moment in the past: the positions drawn by then, and the writers who were at work then and still are. */
  #watch: { readonly last: number; holders: Set<string> } | undefined;

  constructor(cursor: { readonly low: number; readonly done: readonly Range[] }) {
    this.#low = cursor.low;
    this.#done = [...cursor.done];
    this.#settle();
  }

  get low(): number {
    return this.#low;
  }

  /** The ranges that are done above `low`, ascending. */
  get done(): readonly Range[] {
    return this.#done;
  }

  /** The highest position that is done. */
  get head(): number {
    return this.#done.at(-1)?.to ?? this.#low;
  }

  /** How many ranges are missing between `low` and `head`. */
  get gapCount(): number {
    return this.#done.length;
  }

  get hasGaps(): boolean {
    return this.#done.length > 0;
  }

  /** What is missing between `low` and `head`, ascending. */
  gaps(): readonly Range[] {
    const gaps: Range[] = [];
    let next = this.#low + 1;
    for (const range of this.#done) {
      if (range.from > next) gaps.push({ from: next, to: range.from - 1 });
      next = range.to + 1;
    }
    return gaps;
  }

  /**
   * Told once per tick while there are gaps, and before the tick's read: the last position drawn, read
   * first, and then the writers that hold a lock. Whoever drew a position up to the watch's `last` held
   * his lock then; when none of them holds it any more, each has committed (and a later read sees it) or
   * rolled back.
   */
  observe(last: number, holders: ReadonlySet<string>): void {
    if (this.#watch === undefined) {
      this.#watch = { last, holders: new Set(holders) };
      return;
    }
    this.#watch.holders = this.#watch.holders.intersection(holders);
  }

  /**
   * After the read that followed {@link ShardProgress.observe}, and after {@link ShardProgress.complete}:
   * closes the gaps that nobody can fill any more. `readTo` is how far the read went, when it was cut.
   */
  closeGaps(readTo: number = Number.MAX_SAFE_INTEGER): void {
    const watch = this.#watch;
    if (watch === undefined) return;
    const gaps = this.gaps();
    if (gaps.length === 0) {
      this.#watch = undefined;
      return;
    }
    if (watch.holders.size > 0) return;
    const upTo = Math.min(watch.last, readTo);
    for (const gap of gaps) {
      if (gap.from <= upTo) this.#add({ from: gap.from, to: Math.min(gap.to, upTo) });
    }
    this.#watch = undefined;
    this.#settle();
  }

  /** These positions are done. */
  complete(positions: readonly number[]): void {
    const sorted = positions.toSorted((left, right) => left - right);
    let index = 0;
    while (index < sorted.length) {
      const from = sorted[index] ?? 0;
      let to = from;
      while (sorted[index + 1] === to + 1 || sorted[index + 1] === to) {
        index += 1;
        to = sorted[index] ?? to;
      }
      index += 1;
      this.#add({ from, to });
    }
    this.#settle();
  }

  /** Forgets what was observed: after a lost connection the holders seen may have other names. */
  forgetWatch(): void {
    this.#watch = undefined;
  }

  #add(added: Range): void {
    assert(added.from <= added.to, `range ${added.from}..${added.to} is backwards`);
    const last = this.#done.at(-1);
    if (last === undefined || added.from > last.to + 1) {
      this.#done.push(added);
      return;
    }
    const kept: Range[] = [];
    let { from, to } = added;
    for (const range of this.#done) {
      if (range.to + 1 < from || range.from > to + 1) kept.push(range);
      else {
        from = Math.min(from, range.from);
        to = Math.max(to, range.to);
      }
    }
    kept.push({ from, to });
    this.#done = kept.sort((left, right) => left.from - right.from);
  }

  #settle(): void {
    let first = this.#done[0];
    while (first !== undefined && first.from <= this.#low + 1) {
      this.#low = Math.max(this.#low, first.to);
      this.#done.shift();
      first = this.#done[0];
    }
  }
}
