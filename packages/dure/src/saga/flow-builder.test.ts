/** A flow is a frozen value, and a definition that could not be followed names all of its mistakes. */
import { describe, expect, it } from "vitest";
import { checkout, facts } from "../../test/support/flows.ts";
import { flow } from "./flow-builder.ts";
import type { FlowPath } from "./flow-builder.ts";

const begun = (name = "some"): FlowPath<{ readonly sagaId: string }> =>
  flow(name, {
    version: 1,
    start: facts.created,
    sagaId: (data: { readonly sagaId: string }) => data.sagaId,
  });

describe("a flow", () => {
  it("is data: what follows what, whose turn it is, and how it ends", () => {
    expect(Object.isFrozen(checkout)).toBe(true);
    expect(checkout).toMatchObject({ start: "order.created", completedBy: ["delivery.started"] });
    expect(checkout.steps[1]).toEqual({
      name: "stock",
      service: "inventory",
      after: ["payment.completed"],
      done: "stock.reserved",
      refused: ["stock.reservation-failed"],
      undone: "stock.released",
      withinMs: 60_000,
      undoneWithinMs: 60_000,
    });
    expect(checkout.events.size).toBe(10);
  });

  it("is not changed by what is said after it on the same path", () => {
    const path = begun().step("payment", {
      service: "payment",
      after: facts.created,
      done: facts.paid,
      withinMs: 1,
    });
    const one = path.completedBy(facts.paid);
    path.turnedBy(facts.cancelRequested);
    expect(one.turnedBy).toEqual([]);
    expect(path.turnedBy(facts.cancelRequested).completedBy(facts.paid).turnedBy).toHaveLength(1);
  });

  it("may come after several steps, and refuse in several ways", () => {
    const definition = begun()
      .step("payment", { service: "payment", after: facts.created, done: facts.paid, withinMs: 1 })
      .step("stock", { service: "stock", after: facts.created, done: facts.reserved, withinMs: 1 })
      .step("delivery", {
        service: "delivery",
        after: [facts.paid, facts.reserved],
        done: facts.delivered,
        refused: [facts.refused, facts.outOfStock],
        withinMs: 1,
        undoneWithinMs: 2,
      })
      .completedBy(facts.delivered);
    expect(definition.steps[2]).toMatchObject({
      after: ["payment.completed", "stock.reserved"],
      refused: ["delivery.failed", "stock.reservation-failed"],
      undoneWithinMs: 2,
    });
  });

  it("is refused with all of its mistakes", () => {
    const path = begun("No name")
      .step("one", { service: "S", after: facts.reserved, done: facts.paid, withinMs: 0 })
      .step("one", { service: "s", after: [], done: facts.paid, withinMs: 1.5 });
    const message = messageOf(() => path.completedBy(facts.delivered));
    for (const part of [
      "the flow's name must be",
      'event "payment.completed": has two parts',
      'step "one": "stock.reserved" is neither the start nor what an earlier step comes to',
      'step "one": service must be',
      'step "one": withinMs: must be a whole number',
      'step "one": the name is taken',
      'step "one": comes after nothing',
      'completedBy: "delivery.started" is not what a step comes to',
      'step "one": the flow would complete without it',
    ]) {
      expect(message).toContain(part);
    }
    expect(messageOf(() => begun().completedBy())).toContain("it has no steps");
  });
});

function messageOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return String(error);
  }
  throw new Error("it was taken");
}
