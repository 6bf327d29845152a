import { describe, expect, test } from "vitest";
import type { OrderView } from "../contracts/http/orders.ts";
import type { OrderBalance } from "../contracts/http/provider.ts";
import { audit } from "./audit.ts";
import type { PostedOrder } from "./post-order.ts";
import { reportOf } from "./report.ts";
import type { ReplayFacts } from "./report.ts";

const items = [{ productId: "85123A", quantity: 6, unitPrice: 255 }];
const at = (second: number): string => `2026-11-20T10:00:${String(second).padStart(2, "0")}.000Z`;

function posted(orderId: string, extras: Partial<PostedOrder> = {}): PostedOrder {
  const planned = { invoice: `invoice of ${orderId}`, customer: "17850", items, amount: 1530 };
  return { kind: "accepted", planned, orderId, amount: 1530, ...extras } as PostedOrder;
}

function view(orderId: string, extras: Partial<OrderView> = {}): OrderView {
  return {
    orderId,
    userId: "17850",
    status: "COMPLETED",
    stage: "DELIVERY_STARTED",
    amount: 1530,
    currency: "GBP",
    items,
    mode: "choreography",
    sagaId: "SAGA-1",
    history: [
      { status: "PENDING", at: at(0) },
      { status: "COMPLETED", at: at(2) },
    ],
    createdAt: at(0),
    updatedAt: at(2),
    ...extras,
  };
}

function balance(orderId: string, net: number): OrderBalance {
  return { orderId, authorized: 0, captured: 0, charged: net, voided: 0, refunded: 0, net };
}

const noReturns = { returns: [], mayPark: false } as const;

test("orders that cost, sold and paid what was asked for agree", () => {
  const canceled = view("O-2", { status: "CANCELED", reason: "OUT_OF_STOCK" });
  const found = audit({
    ...noReturns,
    posted: [posted("O-1"), posted("O-2")],
    orders: [canceled, view("O-1")],
    ledger: [balance("O-1", 1530), balance("O-2", 0)],
  });
  expect(found).toMatchObject({
    notFinal: [],
    duplicates: [],
    disagreements: [],
    money: { orders: 1530, provider: 1530 },
    completionMs: [2000],
    lastFinalAt: Date.parse(at(2)),
  });
  expect([...found.sold]).toEqual([["85123A", 6]]);
  expect([...found.byStatus, ...found.reasons]).toEqual([
    ["COMPLETED", 1],
    ["CANCELED", 1],
    ["OUT_OF_STOCK", 1],
  ]);
});

test.each([
  ["an order is not listed", [], [], /does not list it/],
  ["an order costs something else", [view("O-1", { amount: 1529 })], [1529], /costs 1530/],
  ["an order is somebody else's", [view("O-1", { userId: "13047" })], [1530], /belongs to 13047/],
  ["an order has other items", [view("O-1", { items: [] })], [1530], /other items/],
  ["nobody paid", [view("O-1")], [], /should have 1530, has 0/],
  ["somebody paid twice", [view("O-1")], [3060], /should have 1530, has 3060/],
  ["a canceled order was paid", [view("O-1", { status: "CANCELED" })], [1530], /should have 0/],
])("%s: that is a disagreement", (_, orders, paid, message) => {
  const ledger = paid.map((net) => balance("O-1", net));
  const found = audit({ ...noReturns, posted: [posted("O-1")], orders, ledger });
  expect(found.disagreements.join("\n")).toMatch(message);
});

test("an order that no answer named is a duplicate, if its customer is one of the run's", () => {
  const orders = [view("O-1"), view("O-9"), view("O-8", { userId: "somebody else" })];
  const found = audit({
    ...noReturns,
    posted: [posted("O-1")],
    orders,
    ledger: [balance("O-1", 1530)],
  });
  expect(found.duplicates).toEqual([expect.stringContaining("O-9")]);
});

test("one order under two invoices is a duplicate", () => {
  const found = audit({
    ...noReturns,
    posted: [posted("O-1"), posted("O-1")],
    orders: [view("O-1")],
    ledger: [balance("O-1", 1530)],
  });
  expect(found.duplicates).toHaveLength(1);
});

test("money of an order that is not final is not judged yet, but the order is named", () => {
  const orders = [view("O-1", { status: "PROCESSING" })];
  const found = audit({ ...noReturns, posted: [posted("O-1")], orders, ledger: [] });
  expect(found.disagreements).toEqual([]);
  expect(found.notFinal).toEqual([expect.stringContaining("O-1")]);
});

describe("returns", () => {
  const planned = {
    isReturn: true,
    invoice: "C1",
    customer: "17850",
    items: [{ productId: "85123A", quantity: 2 }],
  } as const;
  const returns = [{ kind: "accepted", planned, returnId: "R-1", refund: 510 }] as const;
  const facts = { posted: [posted("O-1")], orders: [view("O-1")], returns, mayPark: false };

  test("that were refunded and restocked agree", () => {
    const found = audit({ ...facts, ledger: [balance("O-1", 1020)] });
    expect(found).toMatchObject({ disagreements: [], money: { orders: 1020, provider: 1020 } });
    expect([...found.sold]).toEqual([["85123A", 4]]);
  });

  test.each([1530, 1019, 0])("that leave %s at the provider are a disagreement", (net) => {
    const found = audit({ ...facts, ledger: [balance("O-1", net)] });
    expect(found.disagreements.join("\n")).toMatch(/customer 17850: .* should have 1020/);
  });
});

test("an order whose delivery was refused on purpose waits for a person, paid and sold", () => {
  const orders = [view("O-1", { status: "NEEDS_ATTENTION", stage: "PAYMENT_CAPTURED" })];
  const facts = { ...noReturns, posted: [posted("O-1")], orders, ledger: [balance("O-1", 1530)] };
  expect(audit({ ...facts, mayPark: true })).toMatchObject({ notFinal: [], disagreements: [] });
  expect([...audit({ ...facts, mayPark: true }).sold]).toEqual([["85123A", 6]]);
  expect(audit(facts).notFinal).toEqual([expect.stringContaining("O-1")]);
});

const goodFacts: ReplayFacts = {
  plan: {
    lineCount: 2,
    invoiceCount: 2,
    invoices: [posted("O-1").planned],
    orders: [posted("O-1").planned],
    products: [],
    rejects: new Map([["price 0", 1]]),
    rejectedInvoiceCount: 1,
    roundedCount: 0,
    returns: { invoiceCount: 0, lineCount: 0 },
  },
  posted: [posted("O-1")],
  unpostedCount: 0,
  returns: [],
  openReturns: [],
  audit: audit({
    ...noReturns,
    posted: [posted("O-1")],
    orders: [view("O-1")],
    ledger: [balance("O-1", 1530)],
  }),
  stock: [],
  reconciliation: {
    ok: true,
    checkedAt: at(9),
    orders: { COMPLETED: 1 },
    inFlight: 0,
    money: { orders: 1530, payments: 1530, provider: 1530 },
    stock: {},
    deliveries: {},
    disagreements: [],
  },
  retryCount: 0,
  killed: [],
  postingSeconds: 1,
  totalSeconds: 2,
};

test("a report of a good run says so, with its figures", () => {
  const { ok, text } = reportOf(goodFacts);
  expect(ok).toBe(true);
  expect(text).toContain("Everything agrees.");
  expect(text).toContain("completed orders less returns GBP 15.30, at the provider GBP 15.30");
  expect(text).toContain("p50 2,000 ms, p95 2,000 ms, p99 2,000 ms");
});

test.each<[string, Partial<ReplayFacts>]>([
  [
    "a refused order",
    { posted: [{ kind: "refused", planned: posted("O-1").planned, why: "422" }] },
  ],
  ["an order that was not posted", { unpostedCount: 1 }],
  ["a product that differs", { stock: [{ productId: "p", expected: "1", actual: "2" }] }],
  [
    "a ledger that cannot be read",
    { audit: { ...goodFacts.audit, money: { orders: 1530, provider: undefined } } },
  ],
  ["an order that is not final", { audit: { ...goodFacts.audit, notFinal: ["order O-1"] } }],
  ["a return that is not over", { openReturns: ["return R-1"] }],
  ["a duplicate", { audit: { ...goodFacts.audit, duplicates: ["order O-1"] } }],
  [
    "a reconciliation that is not ok",
    { reconciliation: { ...goodFacts.reconciliation, ok: false } },
  ],
])("%s fails the run", (_, facts) => {
  const { ok, text } = reportOf({ ...goodFacts, ...facts });
  expect(ok).toBe(false);
  expect(text).toContain("1 things are wrong:");
});
