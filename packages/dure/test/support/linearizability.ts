/**
 * Whether a history of concurrent operations is explained by one order of them that agrees with real time and with a
 * model. Source: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993; Lowe, "Testing for
 * Linearizability", 2017 (the memory of places that were visited).
 */

/** One operation, as a process saw it. Times are of one clock for all processes. */
export interface Operation<Asked, Answer> {
  readonly process: string;
  readonly asked: Asked;
  /** Undefined: nobody knows what became of it; it may have happened at any time after it was asked, or never. */
  readonly answer: Answer | undefined;
  readonly invokedAt: number;
  readonly answeredAt: number;
}

/** What the object would do if it did one thing at a time. */
export interface Model<State, Asked, Answer> {
  readonly initial: State;
  /** The state after it, or undefined when the model would not have answered so. */
  step(state: State, operation: Operation<Asked, Answer>): State | undefined;
}

/** An order was found, or how far the search came. */
export type Verdict<Asked, Answer> =
  | { readonly kind: "linearizable"; readonly places: number }
  | {
      readonly kind: "violation";
      /** As many as could be put in order. */
      readonly explained: number;
      /** Those of which none can be next. */
      readonly stuckAt: readonly Operation<Asked, Answer>[];
    }
  | { readonly kind: "too-hard"; readonly places: number };

const placesMaxDefault = 2_000_000;

/** Searches for an order. Histories of one object: check one object at a time. */
export function checkLinearizable<State, Asked, Answer>(
  history: readonly Operation<Asked, Answer>[],
  model: Model<State, Asked, Answer>,
  placesMax: number = placesMaxDefault,
): Verdict<Asked, Answer> {
  const operations = history.toSorted((a, b) => a.invokedAt - b.invokedAt);
  const ends = operations.map(({ answer, answeredAt }) =>
    answer === undefined ? Infinity : answeredAt,
  );
  const visited = new Set<string>();
  const done = new Set<number>();
  let explained = 0;
  let stuckAt: readonly number[] = [];

  /** The first not done, and those that overlap it: only they can be next. */
  const candidates = (): readonly number[] => {
    let earliestEnd = Infinity;
    const found: number[] = [];
    for (let index = firstOpen(done, operations.length); index < operations.length; index += 1) {
      if (done.has(index)) continue;
      if ((operations[index]?.invokedAt ?? 0) > earliestEnd) break;
      found.push(index);
      earliestEnd = Math.min(earliestEnd, ends[index] ?? 0);
    }
    return found;
  };
  const isFinished = (): boolean =>
    operations.every((operation, index) => done.has(index) || operation.answer === undefined);

  interface Place {
    readonly state: State;
    readonly open: readonly number[];
    next: number;
    readonly taken: number | undefined;
  }
  const trail: Place[] = [{ state: model.initial, open: candidates(), next: 0, taken: undefined }];
  for (;;) {
    const place = trail.at(-1);
    if (place === undefined) break;
    if (isFinished()) return { kind: "linearizable", places: visited.size };
    if (done.size >= explained) {
      explained = done.size;
      stuckAt = place.open;
    }
    const index = place.open[place.next];
    if (index === undefined) {
      trail.pop();
      if (place.taken !== undefined) done.delete(place.taken);
      continue;
    }
    place.next += 1;
    const operation = operations[index] as Operation<Asked, Answer>;
    const state = model.step(place.state, operation);
    if (state === undefined) continue;
    done.add(index);
    const name = nameOf(done, operations.length, state);
    if (visited.has(name)) {
      done.delete(index);
      continue;
    }
    visited.add(name);
    if (visited.size > placesMax) return { kind: "too-hard", places: visited.size };
    trail.push({ state, open: candidates(), next: 0, taken: index });
  }
  return {
    kind: "violation",
    explained,
    stuckAt: stuckAt.map((index) => operations[index] as Operation<Asked, Answer>),
  };
}

function firstOpen(done: ReadonlySet<number>, length: number): number {
  let index = 0;
  while (index < length && done.has(index)) index += 1;
  return index;
}

/** What was done, as the end of its beginning and the few beyond, with the state. */
function nameOf(done: ReadonlySet<number>, length: number, state: unknown): string {
  const first = firstOpen(done, length);
  const beyond = [...done].filter((index) => index > first).toSorted((a, b) => a - b);
  return `${first} ${beyond.join()} ${JSON.stringify(state)}`;
}
