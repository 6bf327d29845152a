import { expect, test } from "vitest";
import { afterFailure, attemptsMax, textOf } from "./domain.ts";

test("a customer reads what was bought, or why it was not", () => {
  const facts = { orderId: "O-1", amount: 1205, currency: "GBP" };
  expect(textOf("ORDER_COMPLETED", facts)).toBe("Your order O-1 over GBP 12.05 is on its way.");
  expect(textOf("ORDER_CANCELED", { ...facts, reason: "OUT_OF_STOCK" })).toContain(
    "O-1 was canceled (out of stock).",
  );
});

test("eight attempts, further and further apart", () => {
  const clock = { random: () => 0.5 };
  const rests = Array.from({ length: attemptsMax }, (_, at) => afterFailure(at + 1, clock));
  const waits = [100, 200, 400, 800, 1600, 3200, 6400];
  expect(rests).toEqual([
    ...waits.map((restMs) => ({ kind: "rest", restMs })),
    { kind: "give-up" },
  ]);
});
