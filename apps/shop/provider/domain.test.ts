import { describe, expect, test } from "vitest";
import type { ProviderAnswer, ProviderOperation } from "../contracts/http/provider.ts";
import { decide } from "./domain.ts";
import type { OperationHistory, OperationRequest, RecordedOperation } from "./domain.ts";

const none: OperationHistory = {
  own: undefined,
  isOwnCompensated: false,
  forward: undefined,
  isForwardCompensated: false,
  captured: 0,
  refunded: 0,
};

function asked(kind: ProviderOperation, extras: Partial<OperationRequest> = {}): OperationRequest {
  return { key: "own", kind, orderId: "O-1", amount: 100, fingerprint: "same", ...extras };
}

function happened(
  kind: ProviderOperation,
  answer: Partial<ProviderAnswer> = {},
): RecordedOperation {
  return {
    kind,
    orderId: "O-1",
    fingerprint: "same",
    answer: { outcome: "approved", transactionId: "TX-1", amount: 100, ...answer },
  };
}

describe("a payment", () => {
  test.each([
    ["tok_visa", 100, undefined],
    ["tok_timeout", 100, undefined],
    ["tok_declined", 0, "PAYMENT_DECLINED"],
    ["tok_insufficient", 0, "INSUFFICIENT_FUNDS"],
  ] as const)("by %s moves %i, declined for %s", (token, amount, reason) => {
    for (const kind of ["authorize", "charge"] as const) {
      expect(decide(asked(kind, { token }), none)).toMatchObject({
        kind: "record",
        amount,
        reason,
      });
    }
  });

  test("repeated gets the first answer", () => {
    const own = happened("charge");
    expect(decide(asked("charge"), { ...none, own })).toEqual({
      kind: "replay",
      answer: own.answer,
    });
  });

  test("with the key of another request is refused", () => {
    const own = { ...happened("charge"), fingerprint: "other" };
    expect(decide(asked("charge"), { ...none, own })).toMatchObject({
      code: "IDEMPOTENCY_KEY_REUSED",
    });
  });

  test("that was compensated is refused, whether it had come before or not", () => {
    for (const own of [undefined, happened("charge")]) {
      const history = { ...none, own, isOwnCompensated: true };
      expect(decide(asked("charge"), history)).toMatchObject({ code: "STEP_COMPENSATED" });
    }
  });
});

describe("a capture", () => {
  const capture = (amount: number, history: Partial<OperationHistory>) =>
    decide(asked("capture", { amount, forwardKey: "auth" }), { ...none, ...history });
  const forward = happened("authorize");

  test("takes what is held, or less", () => {
    expect(capture(100, { forward })).toMatchObject({ kind: "record", amount: 100 });
    expect(capture(60, { forward })).toMatchObject({ kind: "record", amount: 60 });
  });

  test.each([
    ["more than is held", 101, { forward }, "AMOUNT_TOO_LARGE"],
    ["a second time under another key", 10, { forward, captured: 60 }, "VERSION_CONFLICT"],
    ["a void authorization", 100, { forward, isForwardCompensated: true }, "STEP_COMPENSATED"],
    ["one that was voided before it came", 100, { isForwardCompensated: true }, "STEP_COMPENSATED"],
    ["nothing", 100, {}, "NOT_FOUND"],
    ["a charge", 100, { forward: happened("charge") }, "VALIDATION_FAILED"],
    ["another order's", 100, { forward: { ...forward, orderId: "O-2" } }, "VALIDATION_FAILED"],
  ])("of %s is refused", (_name, amount, history, code) => {
    expect(capture(amount, history)).toMatchObject({ kind: "refuse", code });
  });

  test("of a declined authorization is declined for the same reason", () => {
    const declined = happened("authorize", {
      outcome: "declined",
      reason: "INSUFFICIENT_FUNDS",
      amount: 0,
    });
    expect(capture(100, { forward: declined })).toMatchObject({
      kind: "record",
      amount: 0,
      reason: "INSUFFICIENT_FUNDS",
    });
  });
});

describe("a void", () => {
  const voiding = (history: Partial<OperationHistory>) =>
    decide(asked("void", { forwardKey: "auth" }), { ...none, ...history });
  const forward = happened("authorize");

  test.each([
    ["lets go of all that is held", { forward }, 100],
    ["of what never came succeeds, and is remembered", {}, 0],
    ["of what is void already does nothing", { forward, isForwardCompensated: true }, 0],
    ["of what was declined does nothing", { forward: happened("authorize", { amount: 0 }) }, 0],
  ])("%s", (_name, history, amount) => {
    expect(voiding(history)).toMatchObject({ kind: "record", amount, compensatesForward: true });
  });

  test("of captured money is refused", () => {
    expect(voiding({ forward, captured: 100 })).toMatchObject({ code: "VERSION_CONFLICT" });
  });
});

describe("a refund", () => {
  const refund = (amount: number, history: Partial<OperationHistory>) =>
    decide(asked("refund", { amount, forwardKey: "pay" }), { ...none, ...history });

  test.each(["charge", "capture"] as const)("gives a %s back in parts, never more", (kind) => {
    const forward = happened(kind);
    const part = { kind: "record", amount: 40, compensatesForward: false };
    const rest = { kind: "record", amount: 40, compensatesForward: true };
    expect(refund(40, { forward })).toMatchObject(part);
    expect(refund(40, { forward, refunded: 60 })).toMatchObject(rest);
    expect(refund(41, { forward, refunded: 60 })).toMatchObject({ code: "AMOUNT_TOO_LARGE" });
    expect(refund(1, { forward, refunded: 100 })).toMatchObject({ code: "AMOUNT_TOO_LARGE" });
  });

  test("of a payment that never came, or was declined, succeeds and refuses it from now on", () => {
    const empty = { kind: "record", amount: 0, compensatesForward: true };
    expect(refund(100, {})).toMatchObject(empty);
    const declined = happened("charge", { outcome: "declined", amount: 0 });
    expect(refund(100, { forward: declined })).toMatchObject(empty);
  });

  test("of an authorization is refused: it is voided", () => {
    const forward = happened("authorize");
    expect(refund(100, { forward })).toMatchObject({ code: "VALIDATION_FAILED" });
  });

  test("of itself is refused", () => {
    const request = asked("refund", { forwardKey: "own" });
    expect(decide(request, none)).toMatchObject({ code: "VALIDATION_FAILED" });
  });
});
