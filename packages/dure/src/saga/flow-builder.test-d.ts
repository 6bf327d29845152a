/** A flow's events must carry what its functions read. */
import { describe, expectTypeOf, it } from "vitest";
import { event } from "../core/event.ts";
import type { EventDefinition } from "../core/event.ts";
import type { StandardSchema } from "../core/standard-schema.ts";
import { flow } from "./flow-builder.ts";
import type { FlowDefinition, FlowFact } from "./flow-definition.ts";

declare function schemaOf<Data>(): StandardSchema<Data>;
const fact = <Data>(type: string): EventDefinition<Data> =>
  event(type, { version: 1, schema: schemaOf<Data>(), key: () => "k" });

const Created = fact<{ sagaId: string; orderId: string }>("order.created");
const Paid = fact<{ sagaId: string; amount: number }>("payment.completed");
const Odd = fact<{ flowId: string }>("odd.thing");
const Loud = fact<{ sagaId: string; reason: number }>("loud.thing");
const sagaId = (data: { sagaId: string }): string => data.sagaId;
const reason = (data: { reason?: string }): string | undefined => data.reason;

describe("a flow", () => {
  it("takes events that carry its saga's id, and reads its key of the start", () => {
    const definition = flow("f", {
      version: 1,
      start: Created,
      sagaId,
      key: (data) => data.orderId,
    })
      .step("payment", { service: "payment", after: Created, done: Paid, withinMs: 1 })
      .completedBy(Paid);
    expectTypeOf(definition).toEqualTypeOf<FlowDefinition>();
    expectTypeOf(Paid).toExtend<FlowFact<{ sagaId: string }>>();
  });

  it("refuses events that carry none, or a reason of another kind", () => {
    // @ts-expect-error the start has no sagaId
    flow("f", { version: 1, start: Odd, sagaId });
    const path = flow("f", { version: 1, start: Created, sagaId, reason });
    // @ts-expect-error the answer has no sagaId
    path.step("odd", { service: "odd", after: Created, done: Odd, withinMs: 1 });
    // @ts-expect-error its reason is a number
    path.turnedBy(Loud);
  });
});
