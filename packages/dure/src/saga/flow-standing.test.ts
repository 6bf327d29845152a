/** Where a flow stands depends on what was heard of it, and not on the order in which it came. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { event } from "../core/event.ts";
import type { EventDefinition } from "../core/event.ts";
import type { StandardSchema } from "../core/standard-schema.ts";
import { checkout } from "../../test/support/flows.ts";
import { flow } from "./flow-builder.ts";
import type { FlowDefinition } from "./flow-definition.ts";
import { standingOf } from "./flow-standing.ts";
import type { FlowStanding } from "./flow-standing.ts";

const standing = (definition: FlowDefinition, ...types: readonly string[]): FlowStanding =>
  standingOf(definition, new Map(types.map((type) => [type, undefined])));
const waitsOf = ({ waits }: FlowStanding): readonly string[] => waits.map(({ id }) => id);

const courses: Readonly<Record<string, readonly [FlowStanding["status"], ...string[]]>> = {
  completes: [
    "COMPLETED",
    "order.created",
    "payment.completed",
    "stock.reserved",
    "delivery.started",
  ],
  "is declined": ["COMPENSATED", "order.created", "payment.failed"],
  "is out of stock": [
    "COMPENSATED",
    "order.created",
    "payment.completed",
    "stock.reservation-failed",
    "payment.refunded",
  ],
  "is not delivered": [
    "COMPENSATED",
    "order.created",
    "payment.completed",
    "stock.reserved",
    "delivery.failed",
    "stock.released",
    "payment.refunded",
  ],
  "is canceled while stock is asked": [
    "COMPENSATED",
    "order.created",
    "payment.completed",
    "order.cancel-requested",
    "stock.reservation-failed",
    "payment.refunded",
  ],
};

describe.each(Object.entries(courses))(
  "a checkout that %s",
  (_name, [end, start = "", ...others]) => {
    it("comes to the same in every order of arrival, and its end is the first one that it reaches", () => {
      for (const order of permutations(others)) {
        let reached: FlowStanding["status"] | undefined;
        for (let count = 0; count <= order.length; count += 1) {
          const { status, waits } = standing(checkout, start, ...order.slice(0, count));
          if (reached !== undefined) expect(status).toBe(reached);
          if (status === "COMPLETED" || status === "COMPENSATED") reached = status;
          expect(waits.length === 0).toBe(reached !== undefined);
        }
        expect(reached).toBe(end);
      }
    });
  },
);

describe("a flow", () => {
  it("waits for the services whose turn it is, also by what was not heard", () => {
    expect(waitsOf(standing(checkout, "order.created"))).toEqual(["payment"]);
    expect(waitsOf(standing(checkout, "order.created", "payment.completed"))).toEqual(["stock"]);
    expect(waitsOf(standing(checkout, "order.created", "stock.reserved"))).toEqual(["delivery"]);
  });

  it("waits for both undoings, and for what turned it where only an undoing was heard", () => {
    const turned = standing(checkout, "order.created", "delivery.failed");
    expect(turned.status).toBe("COMPENSATING");
    expect(waitsOf(turned)).toEqual(["payment/undone", "stock/undone"]);
    expect(turned.waits.map(({ service }) => service)).toEqual(["payment", "inventory"]);
    expect(waitsOf(standing(checkout, "order.created", "payment.refunded"))).toEqual(["stock"]);
  });

  it("names what turned it, in the word that the event gave, and not its consequence", () => {
    const facts = new Map([
      ["order.created", undefined],
      ["payment.refunded", "REFUND"],
      ["stock.reservation-failed", "OUT_OF_STOCK"],
    ]);
    expect(standingOf(checkout, facts).reason).toEqual({
      code: "OUT_OF_STOCK",
      error: "stock.reservation-failed was heard",
      step: "stock",
    });
    expect(standing(checkout, "order.created", "payment.failed").reason?.code).toBe(
      "payment.failed",
    );
  });

  it("is completed though a cancellation was heard, wherever that came", () => {
    const all = ["order.created", "payment.completed", "stock.reserved", "delivery.started"];
    for (const order of permutations([...all.slice(1), "order.cancel-requested"])) {
      expect(standing(checkout, "order.created", ...order).status).toBe("COMPLETED");
    }
  });
});

describe("any flow", () => {
  it("comes to one end in any order of arrival, which nothing that follows moves", () => {
    fc.assert(
      fc.property(flows, fc.infiniteStream(fc.nat()), ({ definition, outcomes }, chances) => {
        const happened = courseOf(definition, outcomes);
        const order = shuffled(happened, chances);
        const isDone = definition.completedBy.every((type) => happened.includes(type));
        let reached: FlowStanding["status"] | undefined;
        for (let count = 0; count <= order.length; count += 1) {
          const { status, waits } = standing(definition, "s", ...order.slice(0, count));
          if (reached !== undefined) expect(status).toBe(reached);
          if (status === "COMPLETED" || status === "COMPENSATED") reached = status;
          expect(waits.length === 0).toBe(reached !== undefined);
        }
        expect(reached).toBe(isDone ? "COMPLETED" : "COMPENSATED");
      }),
      { numRuns: 2_000 },
    );
  });
});

const schema: StandardSchema<object> = {
  "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as object }) },
};
const fact = (type: string): EventDefinition<object> =>
  event(type, { version: 1, schema, key: () => "k" });

/** Flows of up to six steps, each after the start or some before it; and which of them refuse. */
const flows = fc
  .array(
    fc.record({
      after: fc.array(fc.nat(5), { maxLength: 3 }),
      isUndone: fc.boolean(),
      refuses: fc.boolean(),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((steps) => {
    const before = (index: number): readonly number[] => [
      ...new Set((steps[index]?.after ?? []).filter((other) => other < index)),
    ];
    let path = flow("any", { version: 1, start: fact("s"), sagaId: () => "x" });
    for (const [index, { isUndone }] of steps.entries()) {
      const after = before(index).map((other) => fact(`done.${other}`));
      path = path.step(`step-${index}`, {
        service: "some",
        after: after.length === 0 ? fact("s") : after,
        done: fact(`done.${index}`),
        refused: fact(`refused.${index}`),
        ...(isUndone && { undone: fact(`undone.${index}`) }),
        withinMs: 1,
      });
    }
    const last = steps
      .keys()
      .filter((index) => !steps.keys().some((x) => before(x).includes(index)));
    const ends = [...last].map((index) => fact(`done.${index}`));
    return { definition: path.completedBy(...ends), outcomes: steps.map(({ refuses }) => refuses) };
  });

/** What happens where every service that is asked answers, and all that was done is undone when one refuses. */
function courseOf({ steps }: FlowDefinition, refuses: readonly boolean[]): readonly string[] {
  const happened = new Set(["s"]);
  for (const [index, { after, done, refused }] of steps.entries()) {
    if (!after.every((type) => happened.has(type))) continue;
    happened.add((refuses[index] === true ? refused[0] : undefined) ?? done);
  }
  if (steps.some(({ refused }) => refused.some((type) => happened.has(type)))) {
    for (const { done, undone } of steps) {
      if (undone !== undefined && happened.has(done)) happened.add(undone);
    }
  }
  happened.delete("s");
  return [...happened];
}

function shuffled(items: readonly string[], chances: Iterator<number>): readonly string[] {
  const left = [...items];
  return items.flatMap(() => left.splice(Number(chances.next().value) % left.length, 1));
}

function permutations<Item>(items: readonly Item[]): readonly (readonly Item[])[] {
  if (items.length <= 1) return [items];
  return items.flatMap((item, index) =>
    permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]),
  );
}
