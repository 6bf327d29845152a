/** Payment without a provider: what it promises while nobody answers. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { RunningService } from "../chassis/config.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { OrderCreated, StockReservationFailed } from "../contracts/events.ts";
import { PaymentsPage, TimelinePart } from "../contracts/http/internal.ts";
import {
  callAsService,
  eventually,
  newOrder,
  paymentOf,
  preparePayment,
  undoing,
} from "./testing/payment-under-test.ts";
import type { PaymentUnderTest } from "./testing/payment-under-test.ts";

const outOfStock = { reason: "OUT_OF_STOCK" as const, productId: "p-1" };

let shop: PaymentUnderTest;
let payment: RunningService;

beforeAll(async () => {
  shop = await preparePayment("http://127.0.0.1:1");
  payment = await shop.start();
});

afterAll(() => shop[Symbol.asyncDispose]());

async function pendingOf(orderId: string): Promise<unknown> {
  const { rows } = await shop.pool.query<{ pending: unknown }>(
    `select jsonb_build_object('operation', pending_operation, 'token', card_token, 'reason', reason)
       as pending from payments where order_id = $1`,
    [orderId],
  );
  return rows[0]?.pending;
}

describe("a compensation", () => {
  test("that comes before its order says at once that nothing is charged, and refuses the late charge", async () => {
    const order = newOrder();
    const undo = { ...undoing(order), ...outOfStock };
    await shop.emit(StockReservationFailed, undo, undo);
    await shop.hears("payment.failed", order.orderId);
    await shop.emit(OrderCreated, order, order);
    const refused = await eventually(
      () => paymentOf(payment, order.orderId),
      "the refused payment",
    );
    expect(refused).toMatchObject({ status: "FAILED", amount: 500, refunded: 0 });
    expect(await pendingOf(order.orderId)).toEqual({
      operation: null,
      token: null,
      reason: "OUT_OF_STOCK",
    });
    // What comes after it has been handled too, so no second event is on its way.
    const next = newOrder();
    await shop.emit(StockReservationFailed, { ...undoing(next), ...outOfStock });
    await shop.hears("payment.failed", next.orderId);
    expect(shop.heardOf(order.orderId)).toEqual(["payment.failed"]);
  });

  test("that meets a charge of unknown outcome cancels it, and tells nobody before that is certain", async () => {
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await eventually(() => paymentOf(payment, order.orderId), "the payment");
    await shop.emit(StockReservationFailed, { ...undoing(order), ...outOfStock });
    await eventually(
      async () =>
        JSON.stringify(await pendingOf(order.orderId)).includes("cancel") ? true : undefined,
      "the cancellation's begin",
    );
    expect(await pendingOf(order.orderId)).toMatchObject({ token: null, reason: "OUT_OF_STOCK" });
    expect(await paymentOf(payment, order.orderId)).toMatchObject({ status: "PROCESSING" });
    expect(shop.heardOf(order.orderId)).toEqual([]);
  });
});

test("an order that is told of twice is one payment", async () => {
  const order = newOrder();
  await shop.emit(OrderCreated, order, order);
  await eventually(() => paymentOf(payment, order.orderId), "the payment");
  const { rows } = await shop.pool.query<{ what: string }>(
    "select what from payment_history where order_id = $1",
    [order.orderId],
  );
  expect(rows).toEqual([{ what: "payment PROCESSING" }]);
});

test("no log line names a card, whatever the level", async () => {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    lines.push(String(chunk));
    return true;
  });
  const talkative = await shop.start({}, { logLevel: "trace" });
  const order = newOrder("tok_of_ada");
  try {
    await shop.emit(OrderCreated, order);
    await eventually(
      () => (lines.join("").includes(order.orderId) ? true : undefined),
      "a line about the order",
    );
  } finally {
    await talkative.stop();
    write.mockRestore();
  }
  expect(lines.join("")).toContain("provider did not settle it");
  expect(lines.join("")).not.toContain("tok_");
});

describe("the routes", () => {
  test("page through all payments by order id", async () => {
    const orders = [newOrder(), newOrder(), newOrder()];
    await shop.emit(OrderCreated, ...orders);
    for (const { orderId } of orders) await eventually(() => paymentOf(payment, orderId), orderId);
    const seen: string[] = [];
    let next: string | undefined = "";
    while (next !== undefined) {
      const path = `/internal/payments?limit=2${next === "" ? "" : `&after=${next}`}`;
      const page = PaymentsPage.parse(await callAsService(payment, path));
      expect(page.payments.length).toBeLessThanOrEqual(2);
      seen.push(...page.payments.map((each) => each.orderId));
      next = page.next;
    }
    expect(seen).toEqual(seen.toSorted());
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining(orders.map((order) => order.orderId)));
  });

  test("tell an order's timeline", async () => {
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await eventually(() => paymentOf(payment, order.orderId), "the payment");
    const answer = await callAsService(payment, `/internal/timeline/${order.orderId}`);
    expect(TimelinePart.parse(answer).entries).toMatchObject([
      { service: "payment", kind: "payment", what: "payment PROCESSING", detail: { amount: 500 } },
    ]);
    expect(JSON.stringify(answer)).not.toContain("tok_");
  });

  test.each(["/internal/payments", "/internal/timeline/O-1"])(
    "%s asks for a service token",
    async (path) => {
      const token = await userToken({ roles: ["operator"] });
      const answers = await Promise.all([
        fetch(payment.url + path),
        fetch(payment.url + path, { headers: { authorization: `Bearer ${token}` } }),
      ]);
      expect(answers.map((answer) => answer.status)).toEqual([401, 401]);
    },
  );

  test("are ready without the provider, and say how many payments wait for it", async () => {
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await eventually(() => paymentOf(payment, order.orderId), "the payment");
    expect((await fetch(`${payment.url}/readyz`)).status).toBe(200);
    const metrics = await (await fetch(`${payment.url}/metrics`)).text();
    const waiting =
      /^payments_waiting_for_provider\{operation="charge",service="payment"\} (\d+)$/m;
    expect(Number(waiting.exec(metrics)?.[1])).toBeGreaterThan(0);
    const age = /^payments_waiting_for_provider_oldest_age_seconds\{service="payment"\} ([\d.]+)$/m;
    expect(Number(age.exec(metrics)?.[1])).toBeGreaterThan(0);
    expect(metrics).toMatch(/^dure_outbox_pending_messages/m);
  });
});
