import { expect, test } from "vitest";
import { byCustomer, planOrders, stockFor } from "./plan.ts";
import type { CsvRecord } from "./sale-line.ts";

/** A few lines in the file's columns: invoice, product, name, quantity, price, customer. */
const lines = `
536365,85123A,HEART HOLDER,6,2.55,17850
536365,71053,METAL LANTERN,6,3.39,17850
536366,22633,HAND WARMER,6,1.85,17850
536414,22139,,56,0,
536544,22139,RETROSPOT TEA SET,1,8.47,
536544,85123A,,2,5.055,
C536379,D,Discount,-1,27.5,14527
536589,21777,,-10,0,
536365,85123A,HEART HOLDER,1,2.1,17850
A563186,B,Adjust bad debt,1,11062.06,
536367,84879,BIRD ORNAMENT,32,1.69,13047
`;

const records: readonly CsvRecord[] = lines
  .trim()
  .split("\n")
  .map((line) => {
    const [InvoiceNo, StockCode, Description, Quantity, UnitPrice, CustomerID] = line.split(",");
    return { InvoiceNo, StockCode, Description, Quantity, UnitPrice, CustomerID } as CsvRecord;
  });

test("each invoice is one order by its customer, with its lines wherever they stood", () => {
  const { orders } = planOrders(records);
  expect(orders.map(({ invoice, customer, amount }) => [invoice, customer, amount])).toEqual([
    ["536365", "17850", 6 * 255 + 6 * 339 + 210],
    ["536366", "17850", 6 * 185],
    ["536544", "guest", 847 + 2 * 506],
    ["536367", "13047", 32 * 169],
  ]);
  expect(orders[0]?.items).toEqual([
    { productId: "85123A", quantity: 6, unitPrice: 255 },
    { productId: "71053", quantity: 6, unitPrice: 339 },
    { productId: "85123A", quantity: 1, unitPrice: 210 },
  ]);
});

test("a cancellation invoice is a return by its customer, in its place among the orders", () => {
  const { invoices } = planOrders(records);
  expect(invoices.map(({ invoice }) => invoice)).toEqual([
    "536365",
    "536366",
    "536544",
    "C536379",
    "536367",
  ]);
  const items = [{ productId: "D", quantity: 1, unitPrice: 2750 }];
  const planned = { isReturn: true, invoice: "C536379", customer: "14527", items };
  expect(invoices[3]).toEqual(planned);
});

test("every line is accounted for: sold, rejected with a reason, or part of a return", () => {
  const plan = planOrders(records);
  expect(plan).toMatchObject({
    lineCount: 11,
    invoiceCount: 8,
    rejectedInvoiceCount: 3,
    roundedCount: 1,
    returns: { invoiceCount: 1, lineCount: 1 },
  });
  expect(Object.fromEntries(plan.rejects)).toEqual({
    "price 0": 1,
    "negative quantity on an ordinary invoice": 1,
    "adjustment invoice": 1,
  });
  const sold = plan.orders.reduce((sum, order) => sum + order.items.length, 0);
  const rejected = [...plan.rejects.values()].reduce((sum, count) => sum + count, 0);
  expect(sold + rejected + plan.returns.lineCount).toBe(plan.lineCount);
});

test("products have their first real name and all that is asked for", () => {
  const { products } = planOrders(records);
  expect(products.find(({ productId }) => productId === "85123A")).toEqual({
    productId: "85123A",
    name: "HEART HOLDER",
    quantity: 9,
  });
  // Its only named line is a sale; the line without a name was rejected.
  expect(products.find(({ productId }) => productId === "22139")?.name).toBe("RETROSPOT TEA SET");
});

test("the limit counts invoices and keeps their later lines", () => {
  const { orders, invoiceCount } = planOrders(records, 2);
  expect(invoiceCount).toBe(2);
  expect(orders.map(({ items }) => items.length)).toEqual([3, 1]);
});

test("customers keep their order and do not mix", () => {
  const queues = byCustomer(planOrders(records).orders);
  expect(queues.map((queue) => queue.map(({ invoice }) => invoice))).toEqual([
    ["536365", "536366"],
    ["536544"],
    ["536367"],
  ]);
});

test("an invoice of more lines than an order may have is rejected as a whole", () => {
  const line = { ...records[0], InvoiceNo: "573585" } as CsvRecord;
  const plan = planOrders(Array.from({ length: 1001 }, () => line));
  expect(plan.orders).toEqual([]);
  expect(plan.rejects.get("more than the shop takes")).toBe(1001);
});

test("tight stock is 70 % of what is asked for, rounded down", () => {
  const product = { productId: "p", name: "P", quantity: 9 };
  expect([stockFor(product, "ample"), stockFor(product, "tight")]).toEqual([9, 6]);
  expect(stockFor({ ...product, quantity: 1 }, "tight")).toBe(0);
});
