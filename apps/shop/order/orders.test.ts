import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "./testing/wait-for.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { acceptedOrderSchema, orderPageSchema, orderViewSchema } from "../contracts/http/orders.ts";
import { createOrderWorld, someOrder } from "./testing/order-world.ts";
import type { Answer, Call, OrderWorld } from "./testing/order-world.ts";

let world: OrderWorld;
let count = 0;
const newKey = () => `key-${(count += 1)}`;

beforeAll(async () => {
  world = await createOrderWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

function post(body: unknown, call: Call = {}): Promise<Answer> {
  return world.call("/orders", { method: "POST", key: newKey(), body, ...call });
}

async function rowCounts(): Promise<unknown> {
  const { rows } = await world.database.pool.query(
    `select (select count(*)::int from orders) as orders,
       (select count(*)::int from order_items) as items,
       (select count(*)::int from order_status_history) as history,
       (select count(*)::int from dure.outbox_message) as messages`,
  );
  return rows[0];
}

test("an order is placed, announced and read back", async () => {
  const placed = await post(someOrder);
  expect(placed).toMatchObject({
    status: 201,
    body: { status: "PENDING", amount: 1100, mode: "choreography" },
  });
  const { orderId, sagaId } = acceptedOrderSchema.parse(placed.body);
  expect(orderId).toMatch(/^ORD-[0-9A-Z]{26}$/);
  expect(sagaId).toMatch(/^SAGA-[0-9A-Z]{26}$/);
  expect(placed.headers.get("location")).toBe(`/orders/${orderId}`);
  expect(placed.headers.get("idempotent-replayed")).toBeNull();
  const order = orderViewSchema.parse((await world.call(`/orders/${orderId}`)).body);
  expect(order).toMatchObject({
    orderId,
    userId: "ada",
    status: "PENDING",
    stage: "ACCEPTED",
    amount: 1100,
    items: someOrder.items,
    sagaId,
    history: [{ status: "PENDING", stage: "ACCEPTED" }],
  });
  expect(order.reason).toBeUndefined();
  await waitFor(() => world.heard.includes(`order.created ${orderId}`), { what: "the event" });
});

describe("one key, one order", () => {
  test("a repeat gets the same bytes; fields may stand in another order", async () => {
    const key = newKey();
    const first = await post(someOrder, { key });
    const { currency, items, mode } = someOrder;
    const again = await post({ currency, mode, items }, { key });
    expect(again.status).toBe(201);
    expect(again.text).toBe(first.text);
    expect(again.headers.get("location")).toBe(first.headers.get("location"));
    expect(again.headers.get("idempotent-replayed")).toBe("true");
  });

  test("another body is refused, another user's key is another key", async () => {
    const key = newKey();
    const first = await post(someOrder, { key });
    const other = { ...someOrder, items: someOrder.items.slice(1) };
    expect(await post(other, { key })).toMatchObject({
      status: 422,
      body: { code: "IDEMPOTENCY_KEY_REUSED" },
    });
    const bob = await post(someOrder, { key, userId: "bob" });
    expect(bob.status).toBe(201);
    expect(bob.text).not.toBe(first.text);
  });

  test("50 at once make one order and get one answer", async () => {
    const key = newKey();
    const answers = await Promise.all(Array.from({ length: 50 }, () => post(someOrder, { key })));
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([201]));
    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
    const fresh = answers.filter((answer) => answer.headers.get("idempotent-replayed") === null);
    expect(fresh).toHaveLength(1);
    const created = `order.created ${acceptedOrderSchema.parse(answers[0]?.body).orderId}`;
    await waitFor(() => world.heard.includes(created), { what: "the event" });
    expect(world.heard.filter((event) => event === created)).toHaveLength(1);
  });
});

describe("what cannot be right is refused, and nothing is written", () => {
  const [first] = someOrder.items;
  const items = (...lines: unknown[]) => ({ currency: "GBP", items: lines });
  const huge = { productId: "p", quantity: 1_000_000, unitPrice: 1_000_000_000 };
  const cases: readonly (readonly [string, unknown, number, string, string?])[] = [
    ["no body", undefined, 400, "VALIDATION_FAILED", ""],
    ["not JSON", "{", 400, "MALFORMED_JSON"],
    ["no items", items(), 400, "VALIDATION_FAILED", "items"],
    [
      "1001 items",
      items(...Array.from({ length: 1001 }, () => first)),
      400,
      "VALIDATION_FAILED",
      "items",
    ],
    ["no currency", { items: [first] }, 400, "VALIDATION_FAILED", "currency"],
    ["dollars", { items: [first], currency: "USD" }, 400, "VALIDATION_FAILED", "currency"],
    ["text", items({ ...first, quantity: "3" }), 400, "VALIDATION_FAILED", "items.0.quantity"],
    ["zero", items(first, { ...first, quantity: 0 }), 400, "VALIDATION_FAILED", "items.1.quantity"],
    ["a half", items({ ...first, unitPrice: 0.5 }), 400, "VALIDATION_FAILED", "items.0.unitPrice"],
    [
      "no product",
      items({ ...first, productId: "" }),
      400,
      "VALIDATION_FAILED",
      "items.0.productId",
    ],
    ["unknown field", { ...someOrder, amount: 1 }, 400, "VALIDATION_FAILED", "amount"],
    ["unknown mode", { ...someOrder, mode: "jazz" }, 400, "VALIDATION_FAILED", "mode"],
    ["too much", items(...Array.from({ length: 10 }, () => huge)), 422, "AMOUNT_TOO_LARGE"],
    [
      "two phases",
      { ...someOrder, payment: { method: "CARD", token: "tok_visa", flow: "two-phase" } },
      422,
      "PAYMENT_FLOW_NOT_SUPPORTED",
    ],
    [
      "an unknown card",
      { ...someOrder, payment: { method: "CARD", token: "tok_x" } },
      400,
      "VALIDATION_FAILED",
      "payment.token",
    ],
  ];
  test.each(cases)("%s", async (_name, body, status, code, path) => {
    const before = await rowCounts();
    const headers = { "content-type": "application/json" };
    const answer = await post(body, { headers });
    expect(answer).toMatchObject({ status, body: { code, status } });
    expect(answer.headers.get("content-type")).toContain("application/problem+json");
    if (path !== undefined) expect(answer.body).toMatchObject({ errors: [{ path }] });
    expect(await rowCounts()).toEqual(before);
  });

  test("a refusal that the request alone decides comes again as it was, and its key is spent", async () => {
    const key = newKey();
    const body = items(...Array.from({ length: 10 }, () => huge));
    const [first, again] = [await post(body, { key }), await post(body, { key })];
    expect(first).toMatchObject({ status: 422, body: { code: "AMOUNT_TOO_LARGE" } });
    expect([again.status, again.text]).toEqual([422, first.text]);
    expect(again.headers.get("content-type")).toBe(first.headers.get("content-type"));
    expect([first, again].map(({ headers }) => headers.get("idempotent-replayed"))).toEqual([
      null,
      "true",
    ]);
    expect(await post(someOrder, { key })).toMatchObject({
      status: 422,
      body: { code: "IDEMPOTENCY_KEY_REUSED" },
    });
  });

  test("a missing key, an empty key", async () => {
    const missing = await world.call("/orders", { method: "POST", body: someOrder });
    expect(missing).toMatchObject({ status: 400, body: { code: "IDEMPOTENCY_KEY_MISSING" } });
    const empty = await post(someOrder, { key: "" });
    expect(empty).toMatchObject({ status: 400, body: { code: "IDEMPOTENCY_KEY_INVALID" } });
  });

  test("a caller that is no service", async () => {
    const authorization = `Bearer ${await userToken({ roles: ["operator"] })}`;
    const answer = await post(someOrder, { headers: { authorization } });
    expect(answer).toMatchObject({ status: 401, body: { code: "UNAUTHENTICATED" } });
  });

  test("a user whom no answer could name", async () => {
    const before = await rowCounts();
    expect(await post(someOrder, { userId: "u".repeat(129) })).toMatchObject({
      status: 400,
      body: { code: "VALIDATION_FAILED", errors: [{ path: "userId" }] },
    });
    expect(await rowCounts()).toEqual(before);
  });
});

describe("reading", () => {
  test("customers see their own orders; to them others are not there", async () => {
    const { orderId } = await world.place({ userId: "carol" });
    for (const path of [`/orders/${orderId}`, `/orders/${orderId}/timeline`]) {
      expect(await world.call(path, { userId: "carol" })).toMatchObject({ status: 200 });
      expect(await world.call(path, { userId: "eve" })).toMatchObject({
        status: 404,
        body: { code: "NOT_FOUND" },
      });
      for (const roles of ["merchant", "operator"]) {
        expect(await world.call(path, { userId: "eve", roles })).toMatchObject({ status: 200 });
      }
    }
    const foreign = await world.call("/orders?userId=carol", { userId: "eve" });
    expect(foreign.body).toEqual({ orders: [] });
    const seen = await world.call("/orders?userId=carol", { roles: "merchant" });
    expect(seen.body).toMatchObject({ orders: [{ orderId, items: someOrder.items }] });
    expect(await world.call("/orders/ORD-unknown")).toMatchObject({ status: 404 });
  });

  test("pages hold every order once, newest first", async () => {
    const placed: string[] = [];
    for (let n = 0; n < 7; n += 1) {
      placed.push((await world.place({ userId: "dora" })).orderId);
    }
    const seen: string[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const next = cursor === undefined ? "" : `&cursor=${cursor}`;
      const answer = await world.call(`/orders?limit=3&status=PENDING${next}`, {
        userId: "dora",
      });
      const page = orderPageSchema.parse(answer.body);
      seen.push(...page.orders.map((order) => order.orderId));
      cursor = page.nextCursor;
      pages += 1;
    } while (cursor !== undefined);
    expect(seen).toEqual(placed.toReversed());
    expect(pages).toBe(3);
    const none = await world.call("/orders?status=CANCELED", { userId: "dora" });
    expect(none.body).toEqual({ orders: [] });
    const exact = await world.call("/orders?limit=7", { userId: "dora" });
    expect(orderPageSchema.parse(exact.body).nextCursor).toBeUndefined();
  });

  test.each([
    ["limit", "limit=0"],
    ["limit", "limit=1001"],
    ["limit", "limit=ten"],
    ["status", "status=DONE"],
    ["cursor", "cursor=abc"],
    ["cursor", "cursor=a+b"],
    ["cursor", "cursor=bzk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"],
    ["page", "page=2"],
  ])("a bad %s is named (%s)", async (path, query) => {
    const answer = await world.call(`/orders?${query}`);
    const body = { code: "VALIDATION_FAILED", errors: [{ path }] };
    expect(answer).toMatchObject({ status: 400, body });
  });
});

test("it is ready, and shows its messages and late checkouts as metrics", async () => {
  expect(await world.call("/readyz")).toMatchObject({ status: 200 });
  const { text } = await world.call("/metrics");
  expect(text).toContain("dure_outbox_pending_messages");
  expect(text).toContain("shop_checkouts_overdue");
});
