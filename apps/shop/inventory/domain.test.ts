import { expect, test } from "vitest";
import { decideReservation, spreadRestock, sumByProduct } from "./domain.ts";

const levels = new Map([
  ["apple", { available: 5, reserved: 0 }],
  ["book", { available: 1, reserved: 4 }],
  ["coat", { available: 0, reserved: 0 }],
]);

test("a product on several lines is needed in total", () => {
  const lines = [
    { productId: "a", quantity: 2 },
    { productId: "b", quantity: 1 },
    { productId: "a", quantity: 3 },
  ];
  expect(sumByProduct(lines)).toEqual([
    { productId: "a", quantity: 5 },
    { productId: "b", quantity: 1 },
  ]);
});

test.each([
  ["all of what there is", [["apple", 5]], undefined, undefined],
  ["more than there ever was", [["apple", 6]], "OUT_OF_STOCK", "apple"],
  ["what others hold", [["book", 5]], "HELD_BY_ANOTHER_ORDER", "book"],
  ["more than others hold", [["book", 6]], "OUT_OF_STOCK", "book"],
  ["what nobody knows", [["duck", 1]], "UNKNOWN_PRODUCT", "duck"],
  [
    "one product too much",
    [
      ["apple", 1],
      ["coat", 1],
    ],
    "OUT_OF_STOCK",
    "coat",
  ],
  [
    "every trouble at once",
    [
      ["book", 2],
      ["coat", 1],
      ["duck", 1],
    ],
    "UNKNOWN_PRODUCT",
    "duck",
  ],
] as const)("%s", (_name, lines, reason, productId) => {
  const wanted = lines.map(([id, quantity]) => ({ productId: id, quantity }));
  const answer =
    reason === undefined ? { kind: "reserved" } : { kind: "refused", reason, productId };
  expect(decideReservation(wanted, levels)).toEqual(answer);
});

test("pieces come back from rows in their order, each up to what is left of it, or not at all", () => {
  const row = (id: string, quantity: number, restocked: number) => ({
    id,
    productId: "apple",
    quantity,
    restocked,
    status: "CONFIRMED" as const,
    isExpired: false,
  });
  const sold = [row("1", 3, 1), row("2", 1, 1), row("3", 2, 0)];
  const wanted = (quantity: number) => [{ productId: "apple", quantity }];
  expect(spreadRestock(sold, wanted(3))).toEqual([
    { id: "1", quantity: 2 },
    { id: "3", quantity: 1 },
  ]);
  expect(spreadRestock(sold, wanted(4))).toHaveLength(2);
  expect(spreadRestock(sold, wanted(5))).toBeUndefined();
  expect(spreadRestock(sold, [{ productId: "book", quantity: 1 }])).toBeUndefined();
});
