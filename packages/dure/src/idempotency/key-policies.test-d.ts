import { expectTypeOf, test } from "vitest";
import { checkoutKey, newSagaId, stepKey } from "./key-policies.ts";
import type { ClientKey, SagaId } from "./key-policies.ts";

test("a saga's id is no client's key, and a client's key is no saga's id", () => {
  expectTypeOf(newSagaId()).not.toExtend<ClientKey>();
  expectTypeOf(checkoutKey("s")).not.toExtend<SagaId>();
  expectTypeOf<string>().not.toExtend<ClientKey>();
  // @ts-expect-error a client's key is given where a saga's id belongs
  stepKey(checkoutKey("s"), { service: "payment", action: "charge" });
});
