/** Whether a saga that is under way can go on under a changed definition is known before it is tried. */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { checkInstance } from "./instance-check.ts";
import { saga } from "./saga-builder.ts";
import type { AnySagaDefinition } from "./saga-definition.ts";
import type { SagaEvent } from "./saga-event.ts";
import { plansOf } from "./saga-plans.ts";

const input = z.object({});
const run = async (): Promise<undefined> => undefined;
const undoable = { run, compensate: run };
const begin = () => saga("s", { version: 1, input });

function problems(definition: AnySagaDefinition, ...journal: SagaEvent[]): readonly string[] {
  const plan = plansOf([definition]).get("s@1");
  const found = checkInstance(plan, { definition: "s", version: 1, input: {}, journal: [journal] });
  return found.map(({ code, message }) => `${code}: ${message}`);
}

const begun = (step: string): SagaEvent => ({ type: "begun", step, attempt: 1 });
const done = (step: string): SagaEvent => ({ type: "done", step });
const turned: SagaEvent = { type: "turned", reason: { code: "X", error: "" } };

const abc = begin().step("a", undoable).step("b", undoable).step("c", undoable).end();

describe("a saga that can go on", () => {
  it("is one whose journal its definition would write again", () => {
    expect(problems(abc)).toEqual([]);
    expect(problems(abc, begun("a"))).toEqual([]);
    const retried: SagaEvent[] = [
      begun("a"),
      { type: "failed", step: "a", code: "E", error: "", isUnknown: true, retryAt: 5 },
      { type: "begun", step: "a", attempt: 2 },
      done("a"),
      begun("b"),
    ];
    expect(problems(abc, ...retried)).toEqual([]);
    const back: SagaEvent[] = [
      ...retried,
      { type: "refused", step: "b", code: "X", error: "" },
      turned,
      { type: "undo-begun", step: "a", attempt: 1 },
      { type: "undo-failed", step: "a", code: "E", error: "" },
      {
        type: "parked",
        status: "COMPENSATION_FAILED",
        reason: { code: "E", error: "" },
        owed: ["a"],
      },
      { type: "commanded", command: "retry", actor: "ada", why: "" },
      { type: "undo-begun", step: "a", attempt: 1 },
    ];
    expect(problems(abc, ...back)).toEqual([]);
  });

  it("may find steps added behind what it has begun", () => {
    const longer = begin().step("a", undoable).step("b", undoable).step("new", undoable).end();
    expect(problems(longer, begun("a"), done("a"), begun("b"))).toEqual([]);
  });

  it("has begun all members of a group", () => {
    const grouped = begin()
      .parallel("both", (all) => all.step("x", undoable).step("y", undoable))
      .step("z", undoable)
      .end();
    expect(problems(grouped, begun("x"), begun("y"), done("y"), done("x"), begun("z"))).toEqual([]);
  });
});

describe("a saga that cannot go on", () => {
  it("has a definition that is gone", () => {
    expect(
      checkInstance(undefined, { definition: "s", version: 1, input: {}, journal: [] }),
    ).toEqual([{ code: "DEFINITION_UNKNOWN", message: 'version 1 of "s" is not there' }]);
  });

  it("has begun a step that is gone", () => {
    expect(problems(abc, begun("old"), done("old"), begun("b"))).toEqual([
      'STEP_MISSING: step "old" has begun, and is not there',
    ]);
  });

  it("has passed a place where a step was put in", () => {
    const inserted = begin().step("a", undoable).step("new", undoable).step("b", undoable).end();
    expect(problems(inserted, begun("a"), done("a"), begun("b"))).toEqual([
      'STEP_NOT_BEGUN: step "b" has begun, though step "new" before it has not',
    ]);
  });

  it("has chosen a case that is gone, or would choose another", () => {
    const branched = (choice: "x" | "y") =>
      begin()
        .branch("way", () => choice, {
          x: (path) => path.step("x1", undoable),
          y: (path) => path.step("y1", undoable),
        })
        .end();
    const chose = (name: string): SagaEvent => ({ type: "chosen", branch: "way", case: name });
    expect(problems(branched("x"), chose("x"), begun("x1"))).toEqual([]);
    expect(problems(branched("x"), chose("z"))).toEqual([
      'CASE_MISSING: case "z" of branch "way" is not there',
    ]);
    expect(problems(branched("y"), chose("x"), begun("x1"))).toEqual([
      'DECIDES_DIFFERENTLY: the journal says "chosen way: x" where the definition decides "chosen way: y"',
    ]);
    expect(problems(abc, chose("x"))).toEqual([
      'BRANCH_MISSING: branch "way" is chosen, and is not there',
    ]);
  });

  it("is being undone where a compensation was taken away", () => {
    const bare = begin().step("a", { run }).step("b", undoable).end();
    const journal: SagaEvent[] = [
      begun("a"),
      done("a"),
      begun("b"),
      { type: "refused", step: "b", code: "X", error: "" },
      turned,
      { type: "undo-begun", step: "a", attempt: 1 },
    ];
    expect(problems(abc, ...journal)).toEqual([]);
    expect(problems(bare, ...journal)).toEqual([
      'COMPENSATION_MISSING: step "a" is to be undone, and has no compensation',
    ]);
  });

  it("waits for an answer that the step does not take any more", () => {
    expect(problems(abc, { type: "begun", step: "a", attempt: 1, until: 9 })).toEqual([
      'STEP_KIND_CHANGED: step "a" is under way and was sent by message, and is "run" now',
    ]);
  });

  it("is being undone past what is the pivot now", () => {
    const pivoted = begin().pivot("a", { run }).step("b", { run }).end();
    const journal: SagaEvent[] = [begun("a"), done("a"), begun("b"), turned];
    expect(problems(pivoted, ...journal)).toContain(
      "PIVOT_MOVED: it is being undone, and the step that is the pivot now is done",
    );
  });
});
