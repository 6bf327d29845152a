import { describe, expect, test } from "vitest";
import {
  compareOrder,
  compareStock,
  isOnlyLate,
  linesOf,
  persistent,
  unsettledPieces,
} from "./domain-reconciliation.ts";
import type { FinalOrder, PeerFacts } from "./domain-reconciliation.ts";

const pieces = linesOf([
  ["b", 1],
  ["a", 3],
]);
const completed: FinalOrder = { status: "COMPLETED", amount: 500, pieces };
const canceled: FinalOrder = { status: "CANCELED", amount: 500, pieces };

function peers(facts: Partial<PeerFacts> = {}): PeerFacts {
  return {
    payments: new Map([["O", { status: "COMPLETED", paid: 500 }]]),
    nets: new Map([["O", 500]]),
    reservations: new Map([["O", ["CONFIRMED\t1\tb", "CONFIRMED\t3\ta"]]]),
    deliveries: new Map([["O", "STARTED"]]),
    ...facts,
  };
}

const empty = peers({
  payments: new Map(),
  nets: new Map(),
  reservations: new Map(),
  deliveries: new Map(),
});

const kinds = (order: FinalOrder, facts: PeerFacts) =>
  compareOrder("O", order, facts).map(({ kind }) => kind);

describe("a completed order", () => {
  test("agrees when all was done", () => {
    expect(kinds(completed, peers())).toEqual([]);
  });

  test("agrees when a part, or all of it, came back and was refunded", () => {
    const part: FinalOrder = { status: "COMPLETED", amount: 200, pieces: linesOf([["b", 1]]) };
    const left = {
      payments: new Map([["O", { status: "COMPLETED", paid: 200 }]]),
      nets: new Map([["O", 200]]),
      reservations: new Map([["O", ["CONFIRMED\t1\tb"]]]),
    };
    expect(kinds(part, peers(left))).toEqual([]);
    expect(kinds(part, peers())).toEqual(["payment-amount", "provider-net", "reservations"]);
    const nothing: FinalOrder = { status: "COMPLETED", amount: 0, pieces: "" };
    const gone = {
      payments: new Map([["O", { status: "REFUNDED", paid: 0 }]]),
      nets: new Map([["O", 0]]),
      reservations: new Map([["O", []]]),
    };
    expect(kinds(nothing, peers(gone))).toEqual([]);
    expect(kinds(nothing, peers(left))).toEqual([
      "payment-status",
      "payment-amount",
      "provider-net",
      "reservations",
    ]);
  });

  test("each service that has another story is named", () => {
    expect(kinds(completed, empty)).toEqual([
      "payment-status",
      "payment-amount",
      "provider-net",
      "delivery",
      "reservations",
    ]);
    expect(compareOrder("O", completed, peers({ nets: new Map([["O", 1000]]) }))).toEqual([
      { kind: "provider-net", id: "O", expected: 500, actual: 1000 },
    ]);
    const twice = peers({ deliveries: new Map([["O", "STARTED,STARTED"]]) });
    expect(kinds(completed, twice)).toEqual(["delivery"]);
    const late = peers({ reservations: new Map([["O", ["RESERVED\t1\tb", "CONFIRMED\t3\ta"]]]) });
    expect(compareOrder("O", completed, late)).toEqual([
      {
        kind: "reservations-unconfirmed",
        id: "O",
        expected: "CONFIRMED 1 b, CONFIRMED 3 a",
        actual: "CONFIRMED 3 a, RESERVED 1 b",
      },
    ]);
  });
});

test("a confirmation that is awaited is late; pieces that are missing are not", () => {
  const of = (...lines: string[]) =>
    compareOrder("O", completed, peers({ reservations: new Map([["O", lines]]) }));
  expect(isOnlyLate(of("RESERVED\t1\tb", "RESERVED\t3\ta"))).toBe(true);
  expect(isOnlyLate(of("RESERVED\t1\tb"))).toBe(false);
  expect(isOnlyLate(of("RESERVED\t1\tb", "RELEASED\t3\ta"))).toBe(false);
});

describe("a canceled order", () => {
  test("agrees when nothing ever was, or all is undone", () => {
    expect(kinds(canceled, empty)).toEqual([]);
    const undone = peers({
      payments: new Map([["O", { status: "REFUNDED", paid: 0 }]]),
      nets: new Map([["O", 0]]),
      reservations: new Map([["O", ["RELEASED\t1\tb"]]]),
      deliveries: new Map([["O", "REFUSED"]]),
    });
    expect(kinds(canceled, undone)).toEqual([]);
  });

  test("whatever is left of it is named", () => {
    expect(kinds(canceled, peers())).toEqual([
      "payment-status",
      "provider-net",
      "delivery",
      "reservations",
    ]);
  });
});

describe("stock", () => {
  const product = { productId: "a", available: 90, reserved: 4, sold: 6, adjusted: 100 };
  const quiet = { sold: 6, inFlight: 4, total: 12 };

  test("with nothing new in between, the bounds are those of what is in flight", () => {
    expect(compareStock(product, { before: quiet, after: quiet, unsettled: 0 })).toEqual([]);
    const counted = { sold: 6, inFlight: 0, total: 6 };
    const settled = { before: counted, after: counted, unsettled: 0 };
    expect(compareStock(product, settled)).toEqual([
      { kind: "stock-reserved", id: "a", expected: 0, actual: 4 },
    ]);
    expect(compareStock({ ...product, sold: 7, reserved: 0 }, settled)).toEqual([
      { kind: "stock-balance", id: "a", expected: 100, actual: 97 },
      { kind: "stock-sold", id: "a", expected: 6, actual: 7 },
    ]);
  });
});

test("what inventory has not confirmed yet widens the bounds of its products, and of no other", () => {
  const late = peers({ reservations: new Map([["O", ["RESERVED\t1\tb", "RESERVED\t3\ta"]]]) });
  const unsettled = unsettledPieces(new Map([["O", completed]]), late);
  expect(Object.fromEntries(unsettled)).toEqual({ a: 3, b: 1 });
  expect(unsettledPieces(new Map([["O", completed]]), peers()).size).toBe(0);
  expect(unsettledPieces(new Map([["O", canceled]]), late).size).toBe(0);
  const around = { sold: 3, inFlight: 0, total: 3 };
  const product = { productId: "a", available: 7, reserved: 3, sold: 0, adjusted: 10 };
  expect(compareStock(product, { before: around, after: around, unsettled: 3 })).toEqual([]);
  expect(compareStock(product, { before: around, after: around, unsettled: 2 })).toHaveLength(2);
});

test("what was wrong once only was late", () => {
  const wrong = (id: string) => ({ kind: "delivery", id, expected: 1, actual: 2 });
  expect(persistent([wrong("1"), wrong("2")], [wrong("2"), wrong("3")])).toEqual([wrong("2")]);
});
