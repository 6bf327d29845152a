/** What the provider's answers make of steps: money that was asked for is never simply forgotten. */
import { describe, expect, test } from "vitest";
import { settlementOf } from "./domain-steps.ts";
import type { AskedOperation, PaymentStanding } from "./domain-steps.ts";

const payment: PaymentStanding = { amount: 500, status: "PROCESSING", refunded: 0 };
const asked = (kind: AskedOperation["kind"], isCompensation = false): AskedOperation => ({
  key: "K",
  kind,
  amount: 500,
  isCompensation,
});
const approved = (amount: number) => ({ kind: "approved" as const, transactionId: "TX", amount });

test("an unknown outcome settles nothing, whatever was asked", () => {
  for (const kind of ["authorize", "capture", "void", "charge", "refund"] as const) {
    const outcome = { kind: "unknown", code: "TIMED_OUT" } as const;
    expect(settlementOf(asked(kind), payment, outcome)).toBeUndefined();
  }
});

test.each([
  { kind: "declined", transactionId: "TX", reason: "PAYMENT_DECLINED" },
  { kind: "compensated" },
  { kind: "rejected", code: "VALIDATION_FAILED" },
] as const)("a compensation is not settled by $kind: the money may still be there", (outcome) => {
  for (const kind of ["void", "refund"] as const) {
    expect(settlementOf(asked(kind, true), payment, outcome)).toBeUndefined();
  }
});

describe("an undone step", () => {
  test("has moved what its compensation gave back, even if nobody heard of it", () => {
    expect(settlementOf(asked("void", true), payment, approved(500))?.payment).toEqual({
      status: "VOIDED",
      authorized: 500,
      voided: 500,
    });
    expect(settlementOf(asked("refund", true), payment, approved(500))?.payment).toMatchObject({
      status: "REFUNDED",
      charged: 500,
      refunded: 500,
    });
  });

  test("that never happened has taken nothing", () => {
    for (const kind of ["void", "refund"] as const) {
      const settlement = settlementOf(asked(kind, true), payment, approved(0));
      expect(settlement?.payment).toMatchObject({ status: "FAILED" });
    }
  });
});

test("the part that completes a refund makes the payment refunded, no part before it", () => {
  const paid = { ...payment, status: "COMPLETED" as const };
  const part = settlementOf(asked("refund"), paid, approved(200));
  expect(part?.payment).toEqual({ refunded: 200 });
  const rest = settlementOf(asked("refund"), { ...paid, refunded: 300 }, approved(200));
  expect(rest?.payment).toEqual({ status: "REFUNDED", refunded: 200 });
});

test("a refused part is free to be refunded again, a refused capture leaves the money held", () => {
  const outcome = { kind: "rejected", code: "AMOUNT_TOO_LARGE" } as const;
  expect(settlementOf(asked("refund"), payment, outcome)).toMatchObject({
    state: "DECLINED",
    reason: "AMOUNT_TOO_LARGE",
    payment: { refundClaimed: -500 },
  });
  expect(settlementOf(asked("capture"), payment, { kind: "compensated" })).toEqual({
    state: "COMPENSATED",
    reason: "STEP_COMPENSATED",
    payment: {},
  });
});
