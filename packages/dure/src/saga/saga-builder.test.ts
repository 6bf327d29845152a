/** A definition is frozen data with every default filled in; what cannot run is refused when it is made, all at once. */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { isDureError } from "../core/errors.ts";
import { event } from "../core/event.ts";
import { saga } from "./saga-builder.ts";
import { sagaDefaults } from "./saga-defaults.ts";
import type { AnySagaDefinition, CompensationPlan, StepPlan } from "./saga-definition.ts";
import type { GivenStep } from "./step-plan.ts";

const input = z.object({ orderId: z.string() });
const none = (): Promise<void> => Promise.resolve();
const key = (data: { readonly orderId: string }): string => data.orderId;
const Reserve = event("stock.reserve", { version: 1, schema: input, key });
const Reserved = event("stock.reserved", { version: 1, schema: input, key });
const OutOfStock = event("stock.out", { version: 1, schema: input, key });
const draft = saga("checkout", { version: 1, input });

/** The path as JavaScript sees it: without what the compiler would refuse. */
interface Untyped {
  step(name: string, options: unknown): Untyped;
  pivot(name: string, options: unknown): Untyped;
  parallel(name: string, define: (group: Untyped) => unknown): Untyped;
  branch(
    name: string,
    choose: unknown,
    cases: Record<string, ((branch: Untyped) => unknown) | undefined>,
  ): Untyped;
  end(): AnySagaDefinition;
}
const untyped = (options: object = { version: 1, input }, name = "checkout"): Untyped =>
  (saga as unknown as (name: string, options: object) => Untyped)(name, options);

function stepOf(definition: AnySagaDefinition, index = 0): StepPlan {
  const node = definition.nodes[index];
  if (node?.kind !== "step") throw new Error(`node ${index} is no step`);
  return node.step;
}

function compensationOf(given: GivenStep): CompensationPlan {
  const { compensation } = stepOf(untyped().step("a", given).end());
  if (compensation === undefined) throw new Error("there is none");
  return compensation;
}

function problemsOf(path: Untyped): string {
  try {
    path.end();
  } catch (error) {
    if (isDureError(error, "CONFIGURATION_INVALID")) return error.message;
    throw error;
  }
  return "";
}

describe("a definition", () => {
  it("is its nodes in order, and what the options say", () => {
    const definition = saga("checkout", { version: 7, input, key, deadlineMs: 60_000 })
      .step("a", { run: none })
      .parallel("b", (group) => group.step("b1", { run: none }).step("b2", { run: none }))
      .branch("c", () => "yes", { yes: (branch) => branch.step("c1", { run: none }) })
      .pivot("d", { run: none })
      .output(({ input: given }) => given.orderId);
    expect(definition).toMatchObject({ name: "checkout", version: 7, deadlineMs: 60_000 });
    expect(definition.businessKey).toBe(key);
    expect(definition.schema).toBe(input);
    expect(definition.output({ input: { orderId: "o" }, results: {} })).toBe("o");
    expect(definition.nodes).toMatchObject([
      { kind: "step", step: { name: "a", isPivot: false } },
      { kind: "parallel", name: "b", steps: [{ name: "b1" }, { name: "b2" }] },
      { kind: "branch", name: "c", cases: { yes: [{ kind: "step", step: { name: "c1" } }] } },
      { kind: "step", step: { name: "d", isPivot: true } },
    ]);
  });

  it("is frozen all the way down", () => {
    const definition = draft
      .step("a", { run: none, compensate: none })
      .step("b", { send: () => Reserve.of({ orderId: "o" }), done: Reserved })
      .parallel("c", (group) => group.step("c1", { run: none }))
      .branch("d", () => "yes", { yes: (branch) => branch.step("d1", { run: none }) })
      .end();
    const soft: string[] = [];
    const walk = (value: unknown, at: string): void => {
      if (typeof value !== "object" || value === null || value === input || value === Reserved)
        return;
      if (!Object.isFrozen(value)) soft.push(at);
      for (const [name, inner] of Object.entries(value)) walk(inner, `${at}.${name}`);
    };
    walk(definition, "definition");
    expect(soft).toEqual([]);
  });

  it("can be begun once and go on in two ways", () => {
    const begun = draft.step("a", { run: none });
    expect(begun.step("b", { run: none }).end().nodes).toHaveLength(2);
    expect(begun.step("c", { run: none }).end().nodes).toHaveLength(2);
    expect(begun.end().nodes).toHaveLength(1);
  });

  it("without an output comes to undefined", () => {
    const definition = draft.step("a", { run: none }).end();
    expect(definition.output({ input: {}, results: {} })).toBeUndefined();
  });
});

describe("a step", () => {
  it("has the defaults of its place and its kind", () => {
    const definition = draft
      .step("a", { run: none })
      .step("b", { local: none, timeoutMs: 5, retry: { attempts: 2 } })
      .pivot("c", { statement: () => ({ text: "select 1", params: [] }) })
      .step("d", { send: () => Reserve.of({ orderId: "o" }), done: Reserved })
      .end();
    const { retry, timeoutMs } = sagaDefaults;
    expect(stepOf(definition, 0)).toMatchObject({ retry: retry.step, timeoutMs: timeoutMs.run });
    expect(stepOf(definition, 1)).toMatchObject({
      retry: { ...retry.step, attempts: 2 },
      timeoutMs: 5,
    });
    expect(stepOf(definition, 2)).toMatchObject({
      retry: retry.pivot,
      timeoutMs: timeoutMs.statement,
    });
    expect(stepOf(definition, 3)).toMatchObject({
      retry: retry.afterPivot,
      timeoutMs: timeoutMs.message,
    });
  });

  it("takes the saga's retry before the pivot only, and its timeout everywhere", () => {
    const options = { version: 1, input, retry: { attempts: 2 }, timeoutMs: 77 };
    const definition = saga("a", { ...options, compensationRetry: { attempts: 3 } })
      .step("a", { run: none, compensate: none })
      .pivot("b", { run: none })
      .end();
    const [first, pivot] = [stepOf(definition), stepOf(definition, 1)];
    expect(first.retry).toEqual({ ...sagaDefaults.retry.step, attempts: 2 });
    expect(first.compensation?.retry).toEqual({ ...sagaDefaults.retry.compensation, attempts: 3 });
    expect(pivot.retry).toEqual(sagaDefaults.retry.pivot);
    expect([first.timeoutMs, first.compensation?.timeoutMs, pivot.timeoutMs]).toEqual([77, 77, 77]);
  });

  it("by message knows both answers, and how to read the reason of a refusal", () => {
    const reason = (): string => "out of stock";
    const definition = draft
      .step("a", {
        send: () => Reserve.of({ orderId: "o" }),
        done: Reserved,
        refused: OutOfStock,
        reason,
      })
      .end();
    expect(stepOf(definition).action).toMatchObject({
      kind: "message",
      replies: [
        { definition: Reserved, outcome: "done" },
        { definition: OutOfStock, outcome: "refused", reason },
      ],
    });
  });

  it("is undone in the way in which it is done, unless it says otherwise", () => {
    const statement = (): { text: string; params: [] } => ({ text: "select 1", params: [] });
    expect(compensationOf({ run: none, compensate: none }).action).toEqual({
      kind: "run",
      run: none,
    });
    expect(compensationOf({ local: none, compensate: none }).action).toEqual({
      kind: "local",
      run: none,
    });
    expect(compensationOf({ statement, compensate: statement }).action).toEqual({
      kind: "statement",
      statement,
    });
    expect(compensationOf({ run: none, compensate: { local: none } }).action).toEqual({
      kind: "local",
      run: none,
    });
  });

  it("has a key of its own, and its compensation another", () => {
    const suffixesOf = (given: GivenStep): readonly string[] => {
      const step = stepOf(untyped().step("a", given).end());
      return [step.keySuffix, step.compensation?.keySuffix ?? ""];
    };
    const compensate = none;
    expect(suffixesOf({ run: none, compensate })).toEqual(["a", "a-compensate"]);
    expect(
      suffixesOf({
        run: none,
        action: "stock-reserve",
        compensate,
        compensationAction: "stock-free",
      }),
    ).toEqual(["stock-reserve", "stock-free"]);
    expect(suffixesOf({ run: none, compensate: { run: none, action: "undo" } })).toEqual([
      "a",
      "undo",
    ]);
  });
});

describe("refused when it is made", () => {
  const step = { run: none, compensate: none };
  const refusals: readonly [string, () => Untyped, RegExp][] = [
    ["a definition without steps", () => untyped(), /it has no steps/],
    [
      "an unknown option",
      () => untyped({ version: 1, input, retries: 3 }),
      /retries: is no option/,
    ],
    [
      "a schema that is none",
      () => untyped({ version: 1, input: {} }),
      /input: must be a Standard Schema/,
    ],
    ["no schema", () => untyped({ version: 1 }), /input: must be a Standard Schema/],
    ["version 0", () => untyped({ version: 0, input }), /version: .* 1 to 32767, got 0/],
    ["version 32768", () => untyped({ version: 32_768, input }), /version: .* got 32768/],
    ["a deadline of nothing", () => untyped({ version: 1, input, deadlineMs: 0 }), /deadlineMs: /],
    ["a bad name of the saga", () => untyped(undefined, "Check Out"), /the saga's name must be/],
    ["a bad name of a step", () => untyped().step("a_b", step), /step "a_b": its name must be/],
    ["a name of 65 characters", () => untyped().step("a".repeat(65), step), /its name must be/],
    [
      "a name twice",
      () => untyped().step("a", step).step("a", step),
      /step "a": the name is taken/,
    ],
    [
      "a name in two cases",
      () =>
        untyped().branch("b", () => "x", {
          x: (x) => x.step("a", step),
          y: (y) => y.step("a", step),
        }),
      /step "a": the name is taken/,
    ],
    [
      "a name in a group and after it",
      () =>
        untyped()
          .parallel("g", (g) => g.step("a", step))
          .step("g", step),
      /step "g": the name is taken/,
    ],
    [
      "two keys that end alike",
      () => untyped().step("a", step).step("a-compensate", step),
      /step "a-compensate": its key ends in "a-compensate" as that of the compensation of step "a"/,
    ],
    [
      "an action that is no key",
      () => untyped().step("a", { run: none, action: "a b" }),
      /action "a b"/,
    ],
    [
      "a case that cannot be named",
      () => untyped().branch("b", () => "x", { "x y": (x) => x }),
      /case "x y"/,
    ],
    ["a step without an action", () => untyped().step("a", {}), /has no action/],
    ["no options", () => untyped().step("a", undefined), /has no action/],
    ["two actions", () => untyped().step("a", { run: none, local: none }), /has run and local/],
    [
      "an action that is no function",
      () => untyped().step("a", { run: 1 }),
      /run: must be a function/,
    ],
    [
      "an unknown option of a step",
      () => untyped().step("a", { ...step, timeout: 5 }),
      /timeout: is no option/,
    ],
    [
      "an unknown limit",
      () => untyped().step("a", { ...step, retry: { times: 1 } }),
      /retry\.times: is no option/,
    ],
    [
      "a message without done",
      () => untyped().step("a", { send: none }),
      /done: must be the event/,
    ],
    [
      "an answer to no message",
      () => untyped().step("a", { run: none, done: Reserved }),
      /done: is for a step by message/,
    ],
    [
      "one event for both answers",
      () => untyped().step("a", { send: none, done: Reserved, refused: Reserved }),
      /done and refused are the same event/,
    ],
    [
      "a function that undoes a message",
      () => untyped().step("a", { send: none, done: Reserved, compensate: none }),
      /must be an object with send and done/,
    ],
    [
      "a compensation that is neither",
      () => untyped().step("a", { run: none, compensate: 1 }),
      /a function or an object/,
    ],
    [
      "two actions of a compensation",
      () => untyped().step("a", { run: none, compensate: {} }),
      /compensate: has no action/,
    ],
    [
      "a key for no compensation",
      () => untyped().step("a", { run: none, compensationAction: "b" }),
      /there is no compensate/,
    ],
    [
      "undoing what changes nothing",
      () => untyped().step("a", { ...step, readOnly: true }),
      /nothing to undo/,
    ],
    [
      "a timeout of 0",
      () => untyped().step("a", { ...step, timeoutMs: 0 }),
      /timeoutMs: .* 1 to 86400000, got 0/,
    ],
    [
      "a timeout over a day",
      () => untyped().step("a", { ...step, timeoutMs: 86_400_001 }),
      /timeoutMs: /,
    ],
    [
      "no attempts",
      () => untyped().step("a", { ...step, retry: { attempts: 0 } }),
      /retry\.attempts: /,
    ],
    [
      "endless attempts before the pivot",
      () => untyped().step("a", { ...step, retry: { attempts: Number.POSITIVE_INFINITY } }),
      /retry\.attempts: .* got Infinity/,
    ],
    [
      "a highest wait below the first",
      () => untyped().step("a", { ...step, retry: { baseMs: 100, maxMs: 50 } }),
      /retry\.maxMs: .* from 100/,
    ],
    [
      "a pivot in a group",
      () => untyped().parallel("g", (g) => g.pivot("a", { run: none })),
      /pivot "a": is inside a parallel/,
    ],
    [
      "a pivot in a branch",
      () => untyped().branch("b", () => "x", { x: (x) => x.pivot("a", { run: none }) }),
      /pivot "a": is inside a branch/,
    ],
    [
      "two pivots",
      () => untyped().pivot("a", { run: none }).pivot("b", { run: none }),
      /pivot "b": is the second/,
    ],
    ["undoing a pivot", () => untyped().pivot("a", step), /a pivot is never undone/],
    [
      "undoing after the pivot",
      () => untyped().pivot("a", { run: none }).step("b", step),
      /after the pivot nothing is undone/,
    ],
    [
      "one attempt after the pivot",
      () =>
        untyped()
          .pivot("a", { run: none })
          .step("b", { run: none, retry: { attempts: 1 } }),
      /step "b": has no way forward/,
    ],
    [
      "one attempt of the pivot",
      () => untyped().pivot("a", { run: none, retry: { attempts: 1 } }),
      /has no way forward/,
    ],
    ["a group of nothing", () => untyped().parallel("g", (g) => g), /parallel "g": has no steps/],
    [
      "a group in a group",
      () => untyped().parallel("g", (g) => g.parallel("h", (h) => h.step("a", step))),
      /may hold steps only/,
    ],
    [
      "a branch without cases",
      () => untyped().branch("b", () => "x", {}),
      /branch "b": has no cases/,
    ],
    [
      "a branch without a chooser",
      () => untyped().branch("b", "x", { x: (x) => x }),
      /needs a function that chooses/,
    ],
    [
      "a case that is no function",
      () => untyped().branch("b", () => "x", { x: undefined }),
      /needs a function/,
    ],
    [
      "a case that returns nothing",
      () => untyped().branch("b", () => "x", { x: () => undefined }),
      /must return the path/,
    ],
  ];
  it.each(refusals)("%s", (_what, make, problem) => {
    expect(problemsOf(make())).toMatch(problem);
  });

  const needing = (need: string): object => ({
    run: none,
    compensate: { run: none, needs: [need] },
  });
  it.each<[string, () => Untyped, RegExp]>([
    [
      "an unknown step",
      () => untyped().step("a", needing("x")),
      /needs "x": there is no such step/,
    ],
    [
      "a step that is never undone",
      () => untyped().step("a", needing("b")).step("b", { run: none }),
      /has no compensation/,
    ],
    [
      "a step undone later",
      () => untyped().step("a", step).step("b", needing("a")),
      /undone after this one/,
    ],
    ["itself", () => untyped().step("a", needing("a")), /undone after this one/],
    [
      "a step of another case",
      () =>
        untyped().branch("b", () => "x", {
          x: (x) => x.step("a", needing("c")),
          y: (y) => y.step("c", step),
        }),
      /never runs with this one/,
    ],
  ])("a compensation that needs %s", (_what, make, problem) => {
    expect(problemsOf(make())).toMatch(problem);
  });

  it("everything at once", () => {
    const path = untyped({ version: 0, input: 1, extra: 1 }, "A")
      .step("B", {})
      .pivot("c", { run: none, timeoutMs: -1 });
    const problems = problemsOf(path);
    expect(problems).toMatch(/^saga "A": /);
    for (const word of ["extra", "input", "version", "name", '"B"', "has no action", "timeoutMs"]) {
      expect(problems).toContain(word);
    }
  });
});

describe("not refused", () => {
  it("a compensation that needs one that started later, also in its own group", () => {
    const compensate = { run: none, needs: ["b", "c"] };
    const path = untyped()
      .parallel("g", (g) =>
        g.step("a", { run: none, compensate }).step("b", { run: none, compensate: none }),
      )
      .step("c", { run: none, compensate: none });
    expect(problemsOf(path)).toBe("");
  });

  it("one attempt after the pivot in the service's own database, and endless ones elsewhere", () => {
    const path = untyped()
      .pivot("a", { local: none, retry: { attempts: 1 } })
      .step("b", { local: none, retry: { attempts: 1 } })
      .step("c", { run: none, retry: { attempts: Number.POSITIVE_INFINITY } });
    expect(problemsOf(path)).toBe("");
  });
});
