import { expectTypeOf, test } from "vitest";
import type { CompensationCall, StepCall } from "../../saga/saga-definition.ts";
import { checkoutKey, newSagaId } from "../../idempotency/key-policies.ts";
import type { Caller } from "./keyed-fetch.ts";

test("the call of a step and of a compensation are callers", () => {
  expectTypeOf<StepCall>().toExtend<Caller>();
  expectTypeOf<CompensationCall>().toExtend<Caller>();
});

test("a client calls with a key, and not with a saga's id", () => {
  const { signal } = new AbortController();
  expectTypeOf({ key: checkoutKey("s"), signal }).toExtend<Caller>();
  expectTypeOf({ key: newSagaId(), signal }).not.toExtend<Caller>();
});
