/** What may go wrong at a point: the process dies, or the answer of a statement or call does not come back. */
export type Fault = "crash" | "answer-lost";

/** One place at which a fault happens, the same in every run. */
export interface CrashPoint {
  /** Of the statement, by its leading comment or its shortened text; or as given to `point`. */
  readonly name: string;
  /** The how-manieth of this name in its process, from 1. */
  readonly occurrence: number;
  /** `at`: a `point` that is around nothing. */
  readonly when: "before" | "after" | "at" | "answer-lost";
  /** Whether each fault-free run came by. What loops do in the background may differ from run to run. */
  readonly isSteady: boolean;
}

/** A place as a process came by it. */
export type SeenPoint = Omit<CrashPoint, "isSteady">;

/** A point in words: `killed after dure:log.append #2`. */
export function describePoint({ name, occurrence, when }: SeenPoint): string {
  const what = when === "answer-lost" ? `answer lost of ${name}` : `killed ${when} ${name}`;
  return occurrence === 1 ? what : `${what} #${occurrence}`;
}

/** All points of the fault-free runs, in the order in which they were first met. */
export function pointsOf(runs: readonly (readonly SeenPoint[])[]): readonly CrashPoint[] {
  const met = new Map<string, CrashPoint>();
  const keysOfRuns = runs.map((run) => new Set(run.map(keyOf)));
  for (const { name, occurrence, when } of runs.flat()) {
    const key = keyOf({ name, occurrence, when });
    const isSteady = keysOfRuns.every((keys) => keys.has(key));
    if (!met.has(key)) met.set(key, { name, occurrence, when, isSteady });
  }
  return [...met.values()];
}

function keyOf({ name, occurrence, when }: SeenPoint): string {
  return `${when} ${occurrence} ${name}`;
}

/** `count` of the points, the same for the same seed, in their order. */
export function samplePoints(
  points: readonly CrashPoint[],
  { count, seed }: { readonly count: number; readonly seed: number },
): readonly CrashPoint[] {
  if (count >= points.length) return points;
  const random = seededRandom(seed);
  const drawn = points
    .map((point) => ({ point, lot: random() }))
    .toSorted((a, b) => a.lot - b.lot)
    .slice(0, count);
  const chosen = new Set(drawn.map(({ point }) => point));
  return points.filter((point) => chosen.has(point));
}

/** Mulberry32: small, and the same on every machine. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
