/** No position is passed over while its writer may still commit it, and none is lost, whatever the interleaving. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShardProgress } from "./shard-progress.ts";

interface Writer {
  readonly name: string;
  readonly positions: number[];
}

/** A shard and its writers, as PostgreSQL shows them: a lock from before the draw until after the commit. */
class World {
  last = 0;
  readonly committed: Set<number> = new Set();
  readonly writers: Map<string, Writer> = new Map();
  readonly progress: ShardProgress = new ShardProgress({ low: 0, done: [] });
  readonly published: number[] = [];
  #names = 0;

  begin(): void {
    this.#names += 1;
    const name = `writer ${this.#names}`;
    this.writers.set(name, { name, positions: [] });
  }

  draw(writer: Writer): void {
    this.last += 1;
    writer.positions.push(this.last);
  }

  end(writer: Writer, commits: boolean): void {
    if (commits) for (const position of writer.positions) this.committed.add(position);
    this.writers.delete(writer.name);
  }

  /** One tick of a relay in its three separate looks, between which `between` may happen. */
  tick(limit: number, between: (step: number) => void): void {
    const { progress } = this;
    const last = this.last;
    between(0);
    if (progress.hasGaps) progress.observe(last, new Set(this.writers.keys()));
    between(1);
    const gaps = progress.gaps();
    const { head } = progress;
    const isWanted = (position: number): boolean =>
      position > head || gaps.some(({ from, to }) => position >= from && position <= to);
    const found = [...this.committed]
      .filter(isWanted)
      .sort((left, right) => left - right)
      .slice(0, limit);
    between(2);
    this.published.push(...found);
    progress.complete(found);
    progress.closeGaps(found.length >= limit ? found.at(-1) : undefined);
  }

  step(choice: number): void {
    const writers = [...this.writers.values()];
    const writer = writers[Math.floor(choice / 8) % Math.max(1, writers.length)];
    const kind = choice % 8;
    if (writer === undefined || kind === 0) this.begin();
    else if (kind < 5) this.draw(writer);
    else this.end(writer, kind !== 7);
  }
}

const choices = fc.array(fc.nat({ max: 1_000 }), { maxLength: 60 });

describe("a shard's progress", () => {
  it("passes no position while its writer lives, and publishes each committed one a single time", () => {
    fc.assert(
      fc.property(
        fc.array(choices, { maxLength: 12 }),
        fc.integer({ min: 1, max: 9 }),
        (ticks, limit) => {
          const world = new World();
          for (const steps of ticks) {
            const third = Math.ceil(steps.length / 3);
            world.tick(limit, (part) => {
              for (const choice of steps.slice(part * third, (part + 1) * third))
                world.step(choice);
            });
            for (const writer of world.writers.values()) {
              for (const position of writer.positions) {
                expect(position).toBeGreaterThan(world.progress.low);
                expect(
                  world.progress.done.some(({ from, to }) => position >= from && position <= to),
                ).toBe(false);
              }
            }
          }
          for (const writer of world.writers.values()) world.end(writer, true);
          for (
            let round = 0;
            round < 600 && world.published.length < world.committed.size;
            round += 1
          ) {
            world.tick(limit, () => {});
          }
          expect(world.published.toSorted((left, right) => left - right)).toEqual(
            [...world.committed].sort((left, right) => left - right),
          );
          for (let round = 0; round < 3; round += 1) world.tick(limit, () => {});
          expect(world.progress.hasGaps).toBe(false);
        },
      ),
      { numRuns: 400 },
    );
  });

  it("is the same after it was written down and read again by the next owner", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 200 })), (positions) => {
        const progress = new ShardProgress({ low: 0, done: [] });
        for (const position of positions) progress.complete([position]);
        const next = new ShardProgress({ low: progress.low, done: progress.done });
        expect([next.low, next.done, next.head]).toEqual([
          progress.low,
          progress.done,
          progress.head,
        ]);
        const together = new ShardProgress({ low: 0, done: [] });
        together.complete(positions);
        expect([together.low, together.done]).toEqual([progress.low, progress.done]);
        const missing = progress
          .gaps()
          .flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
        const all = Array.from({ length: progress.head }, (_, i) => i + 1);
        expect(missing).toEqual(
          all.filter((position) => position > progress.low && !positions.includes(position)),
        );
      }),
    );
  });

  it("keeps a gap open for a writer who was there, however many others come and go", () => {
    const progress = new ShardProgress({ low: 0, done: [] });
    progress.complete([2]);
    for (let tick = 0; tick < 5; tick += 1) {
      progress.observe(2 + tick, new Set(["slow", `other ${tick}`]));
      progress.closeGaps();
      expect(progress.gaps()).toEqual([{ from: 1, to: 1 }]);
    }
    progress.observe(9, new Set(["other 9"]));
    progress.closeGaps();
    expect([progress.low, progress.hasGaps]).toEqual([2, false]);
  });
});
