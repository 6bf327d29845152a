import type { CpuMeter } from "./cpu.ts";

/** What is done over and over; it is told which of the concurrent writers it is. */
export interface Variant {
  readonly name: string;
  readonly work: (writer: number) => Promise<unknown>;
}

/** How many do the work at once, wherever nothing else is said. */
export const writers = 16;

/** How often the work was done, and in what time. */
export interface Slice {
  readonly count: number;
  readonly ms: number;
}

/** What can be measured for so long: here, or in a process of its own. */
export interface Contender {
  readonly name: string;
  readonly run: (ms: number) => Promise<Slice>;
}

/** So many do the work for so long; work under way is finished and counted, with its time. */
export async function slice(
  work: Variant["work"],
  options: { readonly ms: number; readonly writers: number },
): Promise<Slice> {
  const startedAt = performance.now();
  const until = startedAt + options.ms;
  let count = 0;
  const writeUntilThen = async (writer: number): Promise<void> => {
    while (performance.now() < until) {
      await work(writer);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: options.writers }, (_, writer) => writeUntilThen(writer)));
  return { count, ms: performance.now() - startedAt };
}

/** {@link takeTurns} of what this process does, with {@link writers} at once. */
export function rotate(
  variants: readonly Variant[],
  options: { readonly seconds: number; readonly slices: number },
  meter?: CpuMeter,
): Promise<ReadonlyMap<string, number>> {
  const contenders = variants.map(({ name, work }) => ({
    name,
    run: (ms: number) => slice(work, { ms, writers }),
  }));
  return takeTurns(contenders, options, meter);
}

/**
 * Measures the contenders in short slices that take turns, each turn beginning with another one, so that
 * a machine that drifts is as unkind to one as to the other. Resolves to rates per second; the meter, if
 * there is one, adds up the processor time of each.
 */
export async function takeTurns(
  contenders: readonly Contender[],
  options: { readonly seconds: number; readonly slices: number },
  meter?: CpuMeter,
): Promise<ReadonlyMap<string, number>> {
  const ms = (options.seconds * 1_000) / options.slices;
  const sums = new Map(contenders.map(({ name }) => [name, { count: 0, ms: 0 }]));
  for (let turn = 0; turn < options.slices; turn += 1) {
    const first = turn % contenders.length;
    for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      const run = async (): Promise<number> => {
        const { count, ms: taken } = await contender.run(ms);
        const sum = sums.get(contender.name) ?? { count: 0, ms: 0 };
        sum.count += count;
        sum.ms += taken;
        return count;
      };
      await (meter?.measure(contender.name, run) ?? run());
    }
  }
  return new Map([...sums].map(([name, sum]) => [name, (sum.count * 1_000) / sum.ms]));
}

/** Looks until so many are there; throws when it takes longer than it can on any machine. */
export async function untilCount(
  what: string,
  count: () => number,
  expected: number,
  everyMs = 1,
): Promise<void> {
  const deadline = performance.now() + waitMsMax;
  while (count() < expected) {
    if (performance.now() > deadline) {
      throw new Error(`${what}: ${count()} of ${expected} within ${waitMsMax / 1_000} s`);
    }
    await pause(everyMs);
  }
}

/** Asks again and again until the answer is yes; throws when it takes longer than it can on any machine. */
export async function untilTrue(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + waitMsMax;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${waitMsMax / 1_000} s`);
  }
}

const waitMsMax = 120_000;

/** Fired and not done: beyond this nothing more is fired, so that a server that cannot follow is not buried. */
const inFlightMax = 2_000;

/**
 * Fires at fixed moments, whether or not the earlier ones are done (an open loop): a slow answer delays
 * nobody, and shows. Resolves when all are done, and throws what the first that failed threw.
 */
export async function pace(
  options: { readonly perSecond: number; readonly seconds: number },
  fire: (index: number) => Promise<void>,
): Promise<void> {
  const startedAt = performance.now();
  const inFlight = new Set<Promise<void>>();
  const failures: unknown[] = [];
  const total = Math.round(options.perSecond * options.seconds);
  for (let index = 0; index < total && failures.length === 0; index += 1) {
    const waitMs = startedAt + (index * 1_000) / options.perSecond - performance.now();
    if (waitMs > 1) await pause(waitMs);
    if (inFlight.size >= inFlightMax) await Promise.race(inFlight);
    const fired = fire(index)
      .catch((error: unknown) => void failures.push(error))
      .then(() => void inFlight.delete(fired));
    inFlight.add(fired);
  }
  await Promise.all(inFlight);
  if (failures.length > 0) throw failures[0];
}

/** Resolves after so many milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
