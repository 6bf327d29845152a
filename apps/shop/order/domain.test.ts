import { describe, expect, test } from "vitest";
import type { CancelReason } from "../contracts/http/orders.ts";
import {
  amountOf,
  cancelReasonOf,
  furtherStage,
  isLegal,
  pathTo,
  predecessorsOf,
  stagesBefore,
  standingOf,
  wayByHand,
  wayTo,
} from "./domain.ts";
import type { FlowEvent } from "./flow.ts";
import { permutationsOf } from "./testing/permutations.ts";

const line = (quantity: number, unitPrice: number) => ({ productId: "p", quantity, unitPrice });

describe("the amount", () => {
  test("is the sum over all lines", () => {
    expect(amountOf([line(3, 100), line(1, 1), line(2, 50)])).toBe(401);
  });

  test("is exact up to 2⁵³−1 and refused beyond", () => {
    const nine = Array.from({ length: 9 }, () => line(1_000_000, 1_000_000_000));
    expect(amountOf(nine)).toBe(9_000_000_000_000_000);
    const toMax = [...nine, line(7199, 1_000_000_000), line(1, 254_740_991)];
    expect(amountOf(toMax)).toBe(Number.MAX_SAFE_INTEGER);
    expect(amountOf([...toMax, line(1, 1)])).toBeUndefined();
    expect(amountOf([...nine, ...nine])).toBeUndefined();
  });
});

describe("transitions", () => {
  test("only the legal ones", () => {
    expect(isLegal("PENDING", "PROCESSING")).toBe(true);
    expect(isLegal("PENDING", "COMPLETED")).toBe(false);
    expect(isLegal("CANCELED", "PENDING")).toBe(false);
    expect(predecessorsOf("CANCELED")).toEqual(["CANCELING"]);
  });

  test("a target is reached step by step, or not at all", () => {
    expect(pathTo("PENDING", "COMPLETED")).toEqual(["PROCESSING", "COMPLETED"]);
    expect(pathTo("PENDING", "CANCELED")).toEqual(["CANCELING", "CANCELED"]);
    expect(pathTo("CANCELING", "CANCELED")).toEqual(["CANCELED"]);
    expect(pathTo("PROCESSING", "PROCESSING")).toEqual([]);
    expect(pathTo("CANCELING", "COMPLETED")).toBeUndefined();
    expect(pathTo("COMPLETED", "CANCELED")).toBeUndefined();
    expect(pathTo("NEEDS_ATTENTION", "COMPLETED")).toBeUndefined();
  });

  test("stages only go forward, in the order of the mode", () => {
    expect(furtherStage("choreography", "STOCK_RESERVED", "PAYMENT_CHARGED")).toBe(
      "STOCK_RESERVED",
    );
    expect(furtherStage("orchestration", "STOCK_RESERVED", "PAYMENT_CHARGED")).toBe(
      "PAYMENT_CHARGED",
    );
  });
});

describe("where a checkout stands", () => {
  const standing = (...facts: readonly (FlowEvent | readonly [FlowEvent, CancelReason])[]) =>
    standingOf(new Map(facts.map((fact) => (typeof fact === "string" ? [fact, undefined] : fact))));

  test("follows from the furthest that was heard", () => {
    expect(standing()).toEqual({ status: "PENDING", stage: "ACCEPTED" });
    expect(standing("payment.completed")).toMatchObject({ stage: "PAYMENT_CHARGED" });
    expect(standing("stock.reserved")).toMatchObject({ status: "PROCESSING" });
    expect(standing("delivery.started")).toMatchObject({ status: "COMPLETED" });
    expect(standing(["delivery.failed", "DELIVERY_REFUSED"])).toEqual({
      status: "CANCELING",
      stage: "STOCK_RESERVED",
      reason: "DELIVERY_REFUSED",
    });
  });

  test("after a refused reservation only the money is owed, after a refused delivery both", () => {
    expect(standing(["payment.refunded", "OUT_OF_STOCK"])).toMatchObject({ status: "CANCELED" });
    expect(standing(["payment.refunded", "DELIVERY_REFUSED"])).toMatchObject({
      status: "CANCELING",
    });
    expect(standing(["stock.released", "DELIVERY_REFUSED"])).toMatchObject({
      status: "CANCELING",
    });
  });

  test("is the same whatever came first", () => {
    const facts: readonly (readonly [FlowEvent, CancelReason | undefined])[] = [
      ["payment.completed", undefined],
      ["stock.reserved", undefined],
      ["delivery.failed", "DELIVERY_REFUSED"],
      ["payment.refunded", "DELIVERY_REFUSED"],
      ["stock.released", "DELIVERY_REFUSED"],
    ];
    for (const order of permutationsOf(facts)) {
      expect(standingOf(new Map(order))).toEqual({
        status: "CANCELED",
        stage: "STOCK_RESERVED",
        reason: "DELIVERY_REFUSED",
      });
    }
  });
});

describe("an order whose saga says how it ends", () => {
  test.each([
    ["PENDING", "COMPLETED", ["PROCESSING", "COMPLETED"]],
    ["PROCESSING", "COMPLETED", ["COMPLETED"]],
    ["NEEDS_ATTENTION", "COMPLETED", ["PROCESSING", "COMPLETED"]],
    ["CANCELING", "COMPLETED", undefined],
    ["PENDING", "CANCELED", ["CANCELING", "CANCELED"]],
    ["PROCESSING", "CANCELED", ["CANCELING", "CANCELED"]],
    ["CANCELING", "CANCELED", ["CANCELED"]],
    ["NEEDS_ATTENTION", "CANCELED", ["CANCELING", "CANCELED"]],
    ["COMPLETED", "CANCELED", undefined],
    ["CANCELED", "CANCELED", []],
  ] as const)("%s to %s", (from, end, path) => {
    expect(wayTo(from, end)).toEqual(path);
    const steps = (path ?? []).map((to, at) => [path?.[at - 1] ?? from, to] as const);
    expect(steps.every(([one, other]) => isLegal(one, other))).toBe(true);
  });

  test.each([
    ["CANCELING", "COMPLETED", ["NEEDS_ATTENTION", "PROCESSING", "COMPLETED"]],
    ["CANCELING", "CANCELED", ["CANCELED"]],
    ["NEEDS_ATTENTION", "CANCELED", ["CANCELING", "CANCELED"]],
    ["COMPLETED", "CANCELED", undefined],
  ] as const)("or an operator: %s to %s", (from, end, path) => {
    expect(wayByHand(from, end)).toEqual(path);
    const steps = (path ?? []).map((to, at) => [path?.[at - 1] ?? from, to] as const);
    expect(steps.every(([one, other]) => isLegal(one, other))).toBe(true);
  });

  test.each([
    [{ code: "OUT_OF_STOCK", step: "reserve-stock" }, "OUT_OF_STOCK"],
    [{ code: "CANCELED_BY_USER" }, "CANCELED_BY_USER"],
    // By an operator, who gives no reason of the shop.
    [{ code: "CANCELED" }, "CANCELED_BY_USER"],
    [{ code: "RESOLVED" }, "CANCELED_BY_USER"],
    // The deadline.
    [{ code: "TIMED_OUT" }, "TIMED_OUT"],
    // The last answer that did not come.
    [{ code: "TIMED_OUT", step: "authorize-payment" }, "PROVIDER_UNAVAILABLE"],
    [{ code: "PROVIDER_THROTTLED", step: "charge-payment" }, "PROVIDER_UNAVAILABLE"],
    [{ code: "UNREACHABLE", step: "reserve-stock" }, "TIMED_OUT"],
  ])("%o is %s", (reason, word) => {
    expect(cancelReasonOf({ error: "", ...reason })).toBe(word);
  });

  test("a stage is reached from the ones before it only", () => {
    expect(stagesBefore("PAYMENT_AUTHORIZED")).toEqual(["ACCEPTED", "STOCK_RESERVED"]);
  });
});
