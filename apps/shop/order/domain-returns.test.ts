import fc from "fast-check";
import { expect, test } from "vitest";
import { allocate } from "./domain-returns.ts";
import type { Purchase } from "./domain-returns.ts";

const bought = (orderId: string, line: number, rest: Partial<Purchase> = {}): Purchase => ({
  orderId,
  line,
  productId: "tea",
  quantity: 2,
  unitPrice: 100,
  ...rest,
});

test("a line takes from the purchases in their order, and is refunded what was paid for each", () => {
  const purchases = [bought("new", 2, { unitPrice: 300 }), bought("new", 1), bought("old", 1)];
  const found = allocate([{ productId: "tea", quantity: 3 }], purchases);
  expect(found).toEqual({
    kind: "covered",
    shares: [bought("new", 2, { unitPrice: 300 }), bought("new", 1, { quantity: 1 })],
    refund: 700,
  });
});

test("two lines of one product share its purchases", () => {
  const lines = [
    { productId: "tea", quantity: 1 },
    { productId: "tea", quantity: 2 },
  ];
  expect(allocate(lines, [bought("one", 1), bought("two", 1)])).toMatchObject({
    shares: [bought("one", 1), bought("two", 1, { quantity: 1 })],
    refund: 300,
  });
});

test("all or nothing: every line that is not covered is named", () => {
  const lines = [
    { productId: "tea", quantity: 2 },
    { productId: "cup", quantity: 1 },
    { productId: "tea", quantity: 1 },
  ];
  expect(allocate(lines, [bought("one", 1)])).toEqual({ kind: "uncovered", lines: [1, 2] });
});

const productId = fc.constantFrom("tea", "cup", "pot");
const quantity = fc.integer({ min: 1, max: 9 });

test("whatever is covered is covered in full, from no purchase more than it has", () => {
  const someLines = fc.array(fc.record({ productId, quantity }), { minLength: 1, maxLength: 6 });
  const somePurchases = fc.array(
    fc.record({ productId, quantity, unitPrice: fc.integer({ min: 1, max: 999 }) }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(someLines, somePurchases, (lines, drafts) => {
      const purchases = drafts.map((draft, line) => ({ ...draft, orderId: "one", line }));
      const sum = (of: readonly { productId: string; quantity: number }[], id: string): number =>
        of.filter((each) => each.productId === id).reduce((all, each) => all + each.quantity, 0);
      const products = ["tea", "cup", "pot"];
      const isCovered = products.every((id) => sum(lines, id) <= sum(purchases, id));
      const found = allocate(lines, purchases);
      expect(found.kind).toBe(isCovered ? "covered" : "uncovered");
      if (found.kind === "uncovered") return;
      for (const id of products) expect(sum(found.shares, id)).toBe(sum(lines, id));
      for (const share of found.shares) {
        expect(share.quantity).toBeLessThanOrEqual(purchases[share.line]?.quantity ?? 0);
      }
    }),
  );
});
