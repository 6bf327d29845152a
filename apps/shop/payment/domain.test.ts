import { describe, expect, test } from "vitest";
import { keysOf, transitionAfter, undoOf } from "./domain.ts";
import type { AttemptedPayment, PaymentStatus, ProviderOutcome } from "./domain.ts";

const giveUpAfterMs = 1_000;
const charging: AttemptedPayment = { pending: "charge", reason: undefined, ageMs: 0 };
const old: AttemptedPayment = { ...charging, ageMs: giveUpAfterMs };
const canceling: AttemptedPayment = { pending: "cancel", reason: "OUT_OF_STOCK", ageMs: 0 };
const refunding: AttemptedPayment = { pending: "refund", reason: "OUT_OF_STOCK", ageMs: 0 };

const approved: ProviderOutcome = { kind: "approved", transactionId: "TX-1", amount: 500 };
const declined: ProviderOutcome = {
  kind: "declined",
  transactionId: "TX-1",
  reason: "INSUFFICIENT_FUNDS",
};
const compensated: ProviderOutcome = { kind: "compensated" };
const rejected: ProviderOutcome = { kind: "rejected", code: "VALIDATION_FAILED" };
const unknown: ProviderOutcome = { kind: "unknown", code: "TIMED_OUT" };
const after = (payment: AttemptedPayment, outcome: ProviderOutcome) =>
  transitionAfter(payment, outcome, giveUpAfterMs);

describe("a charge", () => {
  test("that is approved completes the payment, however late", () => {
    for (const payment of [charging, old]) {
      expect(after(payment, approved)).toEqual({ kind: "complete", transactionId: "TX-1" });
    }
  });

  test("that is refused for good fails it, with the provider's reason", () => {
    expect(after(charging, declined)).toEqual({ kind: "fail", reason: "INSUFFICIENT_FUNDS" });
    expect(after(charging, rejected)).toEqual({ kind: "fail", reason: "PAYMENT_DECLINED" });
    expect(after(charging, compensated)).toEqual({ kind: "fail", reason: "PROVIDER_UNAVAILABLE" });
  });

  test("of unknown outcome is repeated, and when that takes too long canceled, never just failed", () => {
    expect(after(charging, unknown)).toEqual({ kind: "retry", code: "TIMED_OUT" });
    expect(after(old, unknown)).toEqual({ kind: "cancel", reason: "PROVIDER_UNAVAILABLE" });
  });
});

describe("a cancellation and a refund", () => {
  test("end with the provider's acknowledgement and keep the reason that they have", () => {
    const settled = { transactionId: "TX-1", amount: 500 };
    expect(after(refunding, approved)).toEqual({ kind: "refunded", settled });
    expect(after(canceling, approved)).toEqual({ kind: "fail", reason: "OUT_OF_STOCK", settled });
  });

  test.each([declined, compensated, rejected, unknown])(
    "are repeated after %j, however old",
    (outcome) => {
      for (const payment of [canceling, refunding]) {
        expect(after({ ...payment, ageMs: 1e9 }, outcome)).toMatchObject({ kind: "retry" });
      }
    },
  );
});

test.each<[PaymentStatus, string]>([
  ["PROCESSING", "cancel"],
  ["COMPLETED", "refund"],
  ["FAILED", "nothing"],
  ["REFUNDING", "nothing"],
  ["REFUNDED", "nothing"],
])("a compensation that meets %s begins: %s", (status, undoing) => {
  expect(undoOf(status)).toBe(undoing);
});

test("charge and refund of a saga have keys of their own", () => {
  expect(keysOf("SAGA-1")).toEqual({
    charge: "SAGA-1-payment-charge",
    refund: "SAGA-1-payment-refund",
  });
});
