/** Whatever its steps answer, whenever its process dies: a saga ends in a legal state, and what stands is what its journal says (S1 to S5). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { saga } from "./saga-builder.ts";
import type { AttemptOutcome, Moment } from "./saga-attempt.ts";
import { owedSteps } from "./saga-decision.ts";
import type { AnySagaDefinition } from "./saga-definition.ts";
import type { SagaEvent } from "./saga-event.ts";
import { isAtRest } from "./saga-event.ts";
import { plansOf } from "./saga-plans.ts";
import { markOf, SagaRun } from "./saga-run.ts";
import type { RunHost } from "./saga-run.ts";
import { apply, initialState } from "./saga-state.ts";
import type { SagaState, StepState } from "./saga-state.ts";
import type { JournalEntry } from "./saga-store.ts";

/** A step as it is drawn. */
interface DrawnStep {
  readonly attempts: number;
  readonly undoAttempts: number;
  readonly needsNext: boolean;
}

type DrawnNode =
  | { readonly kind: "steps"; readonly steps: readonly DrawnStep[] }
  | {
      readonly kind: "branch";
      readonly cases: readonly (readonly DrawnStep[])[];
      readonly pick: number;
    };

interface Drawn {
  readonly before: readonly DrawnNode[];
  readonly after: readonly DrawnNode[] | undefined;
  readonly pivotAttempts: number;
}

const step: fc.Arbitrary<DrawnStep> = fc.record({
  attempts: fc.integer({ min: 1, max: 3 }),
  undoAttempts: fc.integer({ min: 1, max: 2 }),
  needsNext: fc.boolean(),
});
const node: fc.Arbitrary<DrawnNode> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("steps" as const),
      steps: fc.array(step, { minLength: 1, maxLength: 1 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("steps" as const),
      steps: fc.array(step, { minLength: 2, maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("branch" as const),
      cases: fc.array(fc.array(step, { minLength: 1, maxLength: 2 }), {
        minLength: 2,
        maxLength: 2,
      }),
      pick: fc.integer({ min: 0, max: 1 }),
    }),
  },
);
const drawn: fc.Arbitrary<Drawn> = fc.record({
  before: fc.array(node, { minLength: 1, maxLength: 3 }),
  after: fc.option(fc.array(node, { maxLength: 2 }), { nil: undefined }),
  pivotAttempts: fc.integer({ min: 2, max: 3 }),
});

interface Untyped {
  step(name: string, options: unknown): Untyped;
  pivot(name: string, options: unknown): Untyped;
  parallel(name: string, define: (group: Untyped) => Untyped): Untyped;
  branch(name: string, choose: unknown, cases: Record<string, (path: Untyped) => Untyped>): Untyped;
  output(compute: () => unknown): AnySagaDefinition;
}

const none = async (): Promise<void> => undefined;

/** The definition that was drawn; its code is never run, for the test answers for it. */
function define({ before, after, pivotAttempts }: Drawn): AnySagaDefinition {
  let count = 0;
  const add = (
    path: Untyped,
    { attempts, undoAttempts, needsNext }: DrawnStep,
    isLast: boolean,
    isBefore: boolean,
  ): Untyped => {
    count += 1;
    const needs = needsNext && !isLast ? [`s${count + 1}`] : [];
    const compensate = { run: none, retry: { attempts: undoAttempts, baseMs: 1, maxMs: 1 }, needs };
    const retry = { attempts: isBefore ? attempts : attempts + 1, baseMs: 1, maxMs: 5_000 };
    return path.step(`s${count}`, { run: none, retry, ...(isBefore && { compensate }) });
  };
  const addAll = (path: Untyped, steps: readonly DrawnStep[], isBefore: boolean): Untyped =>
    steps.reduce((end, one, index) => add(end, one, index === steps.length - 1, isBefore), path);
  const addNode = (path: Untyped, one: DrawnNode, index: number, isBefore: boolean): Untyped => {
    const name = `${isBefore ? "b" : "a"}${index}`;
    if (one.kind === "branch") {
      const cases = one.cases.map(
        (steps, at) => [`c${at}`, (inner: Untyped) => addAll(inner, steps, isBefore)] as const,
      );
      return path.branch(name, () => `c${one.pick}`, Object.fromEntries(cases));
    }
    if (one.steps.length === 1) return addAll(path, one.steps, isBefore);
    return path.parallel(name, (group) => addAll(group, one.steps, isBefore));
  };
  const start = saga("drawn", { version: 1, input: z.object({}) }) as unknown as Untyped;
  let path = before.reduce((end, one, index) => addNode(end, one, index, true), start);
  if (after !== undefined) {
    path = path.pivot("pivot", {
      run: none,
      retry: { attempts: pivotAttempts, baseMs: 1, maxMs: 5_000 },
    });
    path = after.reduce((end, one, index) => addNode(end, one, index, false), path);
  }
  return path.output(() => "over");
}

type Mood = "mixed" | "nothing is undone" | "the pivot is silent";

interface Attempt {
  readonly run: SagaRun;
  readonly step: StepState;
  readonly isUndo: boolean;
}

/** A participant behind its barrier, a journal, and one process after another. */
class World implements RunHost {
  now = 1_000;
  isStopping = false;
  run: SagaRun | undefined;
  readonly journal: SagaEvent[][] = [];
  /** What the participants know of the forward call of each step. */
  readonly calls: Map<string, "done" | "compensated"> = new Map();
  /** First forward calls that arrive later than anyone waits. */
  readonly late: string[] = [];
  attempts: Attempt[] = [];
  wakeAt: number | undefined = 0;
  deadlineAt: number | undefined;
  readonly mood: Mood;
  emptyEntries = 0;
  readonly #plan;
  #write: { readonly entry: JournalEntry; readonly settle: (isTaken: boolean) => void } | undefined;

  constructor(definition: AnySagaDefinition, mood: Mood = "mixed") {
    this.mood = mood;
    const plan = plansOf([definition]).get("drawn@1");
    if (plan === undefined) throw new Error("the definition has no plan");
    this.#plan = plan;
  }

  /** What the journal says, read as a new owner reads it. */
  replayed(): SagaState {
    const state = initialState({});
    for (const entry of this.journal)
      for (const event of entry) apply(state, event, this.#plan.steps);
    return state;
  }

  /** A new owner: the first one begins, each other goes on. */
  take(): void {
    const state = this.replayed();
    const { deadlineAt } = this;
    const run = new SagaRun(this, {
      sagaId: "S",
      plan: this.#plan,
      state,
      n: this.journal.length,
      traceparent: undefined,
      deadlineAt,
    });
    this.run = run;
    if (this.journal.length === 0) run.deliver([]);
    else run.resume([]);
  }

  /** What it had called for has happened, or happens later, or does not. */
  die(how: number): void {
    if (this.run !== undefined) this.run.isDropped = true;
    for (const { step: of, isUndo } of this.attempts) {
      const { name } = of.plan;
      if (isUndo && how % 2 === 0) this.calls.set(name, "compensated");
      if (isUndo || this.calls.has(name)) continue;
      if (how % 3 === 0) this.calls.set(name, "done");
      if (how % 3 === 1) this.late.push(name);
    }
    this.run = undefined;
    this.attempts = [];
    this.#write = undefined;
    this.wakeAt = this.now;
  }

  get isWriting(): boolean {
    return this.#write !== undefined;
  }

  /** The write under way comes to its end, and then perhaps the process to its own. */
  endWrite(dies: "before" | "after" | undefined, how = 0): void {
    const write = this.#write;
    if (write === undefined) return;
    this.#write = undefined;
    if (dies !== "before") {
      expect(write.entry.n).toBe(this.journal.length + 1);
      this.journal.push(JSON.parse(write.entry.events) as SagaEvent[]);
      this.emptyEntries = write.entry.events === "[]" ? this.emptyEntries + 1 : 0;
      const { move } = write.entry;
      if (move?.kind === "free")
        this.wakeAt = move.wakeInMs === undefined ? undefined : this.now + move.wakeInMs;
    }
    if (dies === undefined) write.settle(true);
    else this.die(how);
  }

  /** An attempt is answered as drawn, as far as a participant that remembers would answer so. */
  answer(index: number, how: number): void {
    const {
      run,
      step: of,
      isUndo,
    } = this.attempts.splice(index % this.attempts.length, 1)[0] as Attempt;
    const { name } = of.plan;
    const known = this.calls.get(name);
    const fail = (isFinal: boolean): AttemptOutcome => ({
      kind: "failed",
      code: "LOST",
      error: "no answer",
      isUnknown: true,
      isFinal,
    });
    // Some histories know no way back, and in others what may not fail for ever does.
    if (isUndo && this.mood === "nothing is undone") return run.settle(of, true, fail(false));
    if (!isUndo && this.mood === "the pivot is silent" && name === "pivot") {
      return run.settle(of, false, fail(false));
    }
    if (isUndo) {
      if (how % 3 < 2) this.calls.set(name, "compensated");
      return run.settle(of, true, how % 3 === 0 ? { kind: "done" } : fail(how > 7));
    }
    if (how < 4) {
      this.calls.set(name, "done");
      return run.settle(of, false, { kind: "done", result: name });
    }
    if (how === 4 && of.plan.isPivot && known === undefined) {
      // Nobody undoes it: whoever refuses it remembers that by its key.
      this.calls.set(name, "compensated");
    }
    if (how === 4 && known !== "done")
      return run.settle(of, false, { kind: "refused", code: "NO", error: "no" });
    if (how === 5) this.calls.set(name, "done");
    if (how === 6 && known === undefined) this.late.push(name);
    run.settle(of, false, fail(how === 9 && !of.plan.isPivot));
  }

  /** A first call that arrives after it was undone is refused. */
  deliverLate(): void {
    for (const name of this.late.splice(0)) if (!this.calls.has(name)) this.calls.set(name, "done");
  }

  moment(): Moment {
    return { now: this.now, random: () => 0.5 };
  }
  append(entry: JournalEntry): Promise<boolean> {
    expect(this.#write).toBeUndefined();
    return new Promise((settle) => {
      this.#write = { entry, settle };
    });
  }
  attempt(run: SagaRun, of: StepState, isUndo: boolean): void {
    expect(this.attempts.map((one) => markOf(one.step, one.isUndo))).not.toContain(
      markOf(of, isUndo),
    );
    this.attempts.push({ run, step: of, isUndo });
  }
  announce(): readonly [] {
    return [];
  }
  released(run: SagaRun): void {
    if (this.run === run) this.run = undefined;
  }
  outdated(): void {
    throw new Error("there is one owner at a time");
  }
  callBack(): void {
    // The test looks whenever time has passed.
  }
}

/** One thing that happens. */
const happening = fc.record({
  what: fc.constantFrom(
    "go",
    "go",
    "go",
    "go",
    "die",
    "die-before",
    "die-after",
    "time",
    "cancel",
    "stop",
  ),
  index: fc.nat({ max: 5 }),
  how: fc.nat({ max: 9 }),
});
type Happening = typeof happening extends fc.Arbitrary<infer Value> ? Value : never;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function happen(world: World, { what, index, how }: Happening): Promise<void> {
  if (world.run === undefined) {
    world.isStopping = false;
    if (what === "time") world.now += 3_000;
    if (world.wakeAt !== undefined && world.wakeAt <= world.now) world.take();
  } else if (what === "die") world.die(how);
  else if (what === "time") {
    world.now += 3_000;
    world.run.look();
  } else if (what === "cancel") {
    const body = { kind: "command", command: "cancel", actor: "test", why: "WANTED" } as const;
    world.run.receive({ id: world.now + index, body });
  } else if (what === "stop") {
    world.isStopping = true;
    world.run.deliver([]);
  } else if (world.isWriting) {
    world.endWrite(whenItDies(what), how);
  } else if (world.attempts.length > 0) world.answer(index, how);
  await turn();
}

function whenItDies(what: Happening["what"]): "before" | "after" | undefined {
  if (what === "die-before") return "before";
  return what === "die-after" ? "after" : undefined;
}

/** Everything answers from here on, until nothing more happens by itself. */
async function settleDown(world: World): Promise<void> {
  world.emptyEntries = 0;
  for (let turns = 0; turns < 2_000; turns += 1) {
    const { run } = world;
    if (run === undefined) {
      if (isAtRest(world.replayed().status)) return;
      // S1: whoever lets go of it says when it goes on.
      expect(world.wakeAt).toBeDefined();
      world.now = Math.max(world.now, world.wakeAt ?? 0);
      world.isStopping = false;
      world.take();
    } else if (world.isWriting) world.endWrite(undefined);
    else if (world.attempts.length > 0) world.answer(0, 0);
    else {
      world.now += 1_000;
      run.look();
    }
    await turn();
    expect(world.emptyEntries, "it is not taken over and let go for nothing").toBeLessThan(3);
  }
  throw new Error(`it did not come to rest: ${JSON.stringify(world.journal)}`);
}

/** The order in which things were begun, turned and undone. */
function assertOrder(events: readonly SagaEvent[], state: SagaState): void {
  const at = (type: SagaEvent["type"]): number => events.findIndex((event) => event.type === type);
  const turned = at("turned");
  const begun: string[] = [];
  const undone: string[] = [];
  let hasPivot = false;
  const active = new Set<string>();
  for (const [index, event] of events.entries()) {
    if (event.type === "begun") {
      expect(turned === -1 || index < turned, "nothing forward after the turn").toBe(true);
      if (!begun.includes(event.step)) begun.push(event.step);
      active.add(event.step);
    }
    if (event.type === "done" && event.step === "pivot") hasPivot = true;
    if (event.type === "done" || event.type === "refused" || event.type === "failed") {
      if (!("retryAt" in event)) active.delete(event.step);
    }
    if (event.type === "turned") {
      expect(hasPivot, "nothing back after the pivot").toBe(false);
      expect([...active], "all settled before the turn").toEqual([]);
      const pivot = events.slice(0, index).findLast((one) => "step" in one && one.step === "pivot");
      expect(["refused", undefined], "a pivot of unknown outcome is not turned from").toContain(
        pivot?.type,
      );
    }
    if (event.type === "undo-begun") {
      for (const need of state.steps.get(event.step)?.plan.compensation?.needs ?? []) {
        const last = events.slice(0, index).findLast((one) => "step" in one && one.step === need);
        expect(last?.type, `${event.step} is undone after ${need}`).not.toBe("undo-failed");
      }
      expect(turned !== -1 && index > turned).toBe(true);
      if (!undone.includes(event.step)) undone.push(event.step);
      expect(undone.at(-1), "one at a time").toBe(event.step);
    }
  }
  expect(begun).toEqual([...state.steps.keys()]);
  expect(undone, "in the reverse order of their start").toEqual(
    begun.filter((name) => undone.includes(name)).toReversed(),
  );
}

/** What stands at the participants is what the saga's end says. */
function assertEffects(world: World, state: SagaState): void {
  world.deliverLate();
  const standing = [...world.calls].filter(([, call]) => call === "done").map(([name]) => name);
  const steps = [...state.steps.values()];
  if (state.status === "COMPLETED") {
    expect(steps.every(({ phase }) => phase === "done")).toBe(true);
    expect(standing.toSorted()).toEqual([...state.steps.keys()].toSorted());
  }
  if (state.status === "COMPENSATED") expect(standing).toEqual([]);
  if (state.status === "COMPENSATION_FAILED") {
    const owed = owedSteps(state).map(({ plan }) => plan.name);
    expect(owed).not.toEqual([]);
    expect(standing.filter((name) => !owed.includes(name))).toEqual([]);
    for (const { plan, phase } of owedSteps(state)) {
      const isWaitedFor = plan.compensation?.needs.some((need) => owed.includes(need)) === true;
      expect(
        phase === "undo-failed" || isWaitedFor,
        `${plan.name} is still owed for a reason`,
      ).toBe(true);
    }
  }
  if (state.status === "FAILED") {
    expect(["done", "given-up"]).toContain(state.steps.get("pivot")?.phase);
  }
}

async function live(world: World, happenings: readonly Happening[]): Promise<void> {
  world.take();
  await turn();
  for (const one of happenings) await happen(world, one);
  await settleDown(world);
}

// Thousands of cases: on a busy machine they take longer than a unit test may by default.
describe("a saga", { timeout: 60_000 }, () => {
  it("ends legally with what its journal says, whatever is answered, and whenever its process dies, stops or is cancelled", async () => {
    const ends = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(
        drawn,
        fc.array(happening, { maxLength: 40 }),
        fc.option(fc.nat(6_000), { nil: undefined }),
        fc.constantFrom<Mood>("mixed", "mixed", "nothing is undone", "the pivot is silent"),
        async (of, happenings, deadline, mood) => {
          const world = new World(define(of), mood);
          world.deadlineAt = deadline === undefined ? undefined : world.now + deadline;
          await live(world, happenings);
          const state = world.replayed();
          ends.set(state.status, (ends.get(state.status) ?? 0) + 1);
          expect(isAtRest(state.status)).toBe(true);
          assertOrder(world.journal.flat(), state);
          assertEffects(world, state);
        },
      ),
      { numRuns: Number(process.env["DURE_SAGA_RUNS"] ?? 8_000) },
    );
    // The histories that were drawn come to every end that there is.
    expect([...ends.keys()].toSorted()).toEqual([
      "COMPENSATED",
      "COMPENSATION_FAILED",
      "COMPLETED",
      "FAILED",
    ]);
  });

  it("is in memory what its journal says, after every entry", async () => {
    await fc.assert(
      fc.asyncProperty(drawn, fc.array(happening, { maxLength: 40 }), async (of, happenings) => {
        const world = new World(define(of));
        world.take();
        await turn();
        for (const one of happenings) {
          await happen(world, one);
          const { run } = world;
          if (run !== undefined && !world.isWriting && run.n === world.journal.length) {
            expect(run.state).toEqual(world.replayed());
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
