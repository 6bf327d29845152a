/** The whole shop with checkouts that a saga drives, through its public API. */
import { mkdtemp, rm } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acceptedOrderSchema, orderViewSchema } from "../contracts/http/orders.ts";
import { acceptedReturnSchema, returnViewSchema } from "../contracts/http/returns.ts";
import { timelineSchema } from "../contracts/http/timeline.ts";
import type { ShopAnswer, ShopUser } from "../replay/shop-client.ts";
import { startEmbeddedShop } from "./embedded-shop.ts";
import type { RunningShop } from "./embedded-shop.ts";
import { findFreeBasePort } from "./ports.ts";
import { ada, merchant, shopAt } from "./testing/shop-under-test.ts";
import type { ShopUnderTest } from "./testing/shop-under-test.ts";

let running: RunningShop;
let shop: ShopUnderTest;
let data: string;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "dure-shop-"));
  running = await startEmbeddedShop({
    basePort: await findFreeBasePort(),
    host: "127.0.0.1",
    data,
    fresh: false,
    rateLimit: false,
    logLevel: "silent",
  });
  shop = shopAt(running.url);
}, 120_000);

afterAll(async () => {
  await running.stop();
  await rm(data, { recursive: true, force: true });
}, 60_000);

const onePhase = { payment: { method: "CARD", token: "tok_visa", flow: "one-phase" } };

function order(productId: string, extras: Record<string, unknown> = {}): Promise<string> {
  return shop.order(productId, { mode: undefined, ...extras });
}

async function ledgerOf(orderId: string): Promise<unknown> {
  const response = await fetch(`${running.urls.provider}/ledger?orderId=${orderId}`);
  const { entries } = (await response.json()) as {
    entries: { operation: string; amount: number }[];
  };
  return entries.map(({ operation, amount }) => [operation, amount]);
}

async function putFaults(service: "delivery" | "provider", body: unknown): Promise<void> {
  const headers = { "content-type": "application/json" };
  const init = { method: "PUT", headers, body: JSON.stringify(body) };
  expect((await fetch(`${running.urls[service]}/faults`, init)).status).toBe(200);
}

function post(path: string, as: ShopUser, body: unknown, key: string = randomUUID()) {
  return shop.client.send({ url: shop.url, path, method: "POST", as, key, body });
}

async function entriesOf(orderId: string): Promise<number> {
  const call = { url: shop.url, path: `/orders/${orderId}`, as: ada };
  const { status, history } = await shop.client.ask(call, orderViewSchema);
  return status === "COMPLETED" ? Number.POSITIVE_INFINITY : history.length;
}

async function returned(productId: string, quantity: number): Promise<string> {
  const answer = await post("/returns", ada, { userId: "ada", items: [{ productId, quantity }] });
  expect(answer.status).toBe(201);
  return acceptedReturnSchema.parse(answer.body).returnId;
}

async function returnIsOver(returnId: string): Promise<void> {
  const call = { url: shop.url, path: `/returns/${returnId}`, as: ada };
  await expect
    .poll(async () => (await shop.client.ask(call, returnViewSchema)).status, { timeout: 20_000 })
    .toBe("COMPLETED");
}

describe("a checkout", () => {
  test("completes in two phases by default: the money is held, then taken once", async () => {
    const product = await shop.putProduct(10);
    const view = await shop.orderWith(await order(product), "COMPLETED");
    expect(view).toMatchObject({ mode: "orchestration", stage: "DELIVERY_STARTED", amount: 1000 });
    expect(view.history.map(({ status, stage }) => `${status} ${stage}`)).toEqual([
      "PENDING ACCEPTED",
      "PROCESSING ACCEPTED",
      "PROCESSING STOCK_RESERVED",
      "PROCESSING PAYMENT_AUTHORIZED",
      "PROCESSING PAYMENT_CAPTURED",
      "COMPLETED DELIVERY_STARTED",
    ]);
    await shop.stockIs(product, { available: 8, reserved: 0, sold: 2 });
    expect(await ledgerOf(view.orderId)).toEqual([
      ["authorize", 1000],
      ["capture", 1000],
    ]);
  });

  test("completes in one phase: the money is taken once", async () => {
    const product = await shop.putProduct(10);
    const view = await shop.orderWith(await order(product, onePhase), "COMPLETED");
    expect(await ledgerOf(view.orderId)).toEqual([["charge", 1000]]);
    await shop.stockIs(product, { available: 8, reserved: 0, sold: 2 });
  });

  test("of more than there is, or by a declined card, is canceled, and nothing is left", async () => {
    const product = await shop.putProduct(1);
    const short = await shop.orderWith(await order(product), "CANCELED");
    expect(short).toMatchObject({ reason: "OUT_OF_STOCK", stage: "ACCEPTED" });
    const unknown = await shop.orderWith(await order("no-such-thing"), "CANCELED");
    expect(unknown.reason).toBe("UNKNOWN_PRODUCT");
    const plenty = await shop.putProduct(10);
    for (const flow of ["two-phase", "one-phase"]) {
      const payment = { method: "CARD", token: "tok_insufficient", flow };
      const declined = await shop.orderWith(await order(plenty, { payment }), "CANCELED");
      expect(declined).toMatchObject({ reason: "INSUFFICIENT_FUNDS", stage: "STOCK_RESERVED" });
      expect(await ledgerOf(declined.orderId)).toEqual([]);
    }
    await shop.stockIs(plenty, { available: 10, reserved: 0, sold: 0 });
  });

  test("whose delivery is refused: undone in one phase, past the pivot it waits for a person", async () => {
    const product = await shop.putProduct(10);
    await putFaults("delivery", { refuseRate: 1 });
    try {
      const undone = await shop.orderWith(await order(product, onePhase), "CANCELED");
      expect(undone.reason).toBe("DELIVERY_REFUSED");
      expect(await ledgerOf(undone.orderId)).toEqual([
        ["charge", 1000],
        ["refund", 1000],
      ]);
      await shop.stockIs(product, { available: 10, reserved: 0, sold: 0 });
      const parked = await shop.orderWith(await order(product), "NEEDS_ATTENTION");
      expect(parked.stage).toBe("PAYMENT_CAPTURED");
      const answer = await post(`/orders/${parked.orderId}/cancel`, ada, {});
      expect(answer).toMatchObject({ status: 409, body: { code: "ORDER_NEEDS_ATTENTION" } });
    } finally {
      await putFaults("delivery", {});
    }
  });
});

describe("canceling", () => {
  test("a completed order, in either mode, gives back money and pieces", async () => {
    const product = await shop.putProduct(10);
    for (const mode of ["orchestration", "choreography"]) {
      const orderId = await order(product, { mode });
      await shop.orderWith(orderId, "COMPLETED");
      const key = randomUUID();
      const answer = await post(`/orders/${orderId}/cancel`, ada, {}, key);
      expect(answer).toMatchObject({ status: 202, body: { status: "CANCELING" } });
      await shop.orderWith(orderId, "CANCELED");
      expect(await post(`/orders/${orderId}/cancel`, ada, {}, key)).toEqual(answer);
      expect(await post(`/orders/${orderId}/cancel`, ada, {})).toMatchObject({
        status: 200,
        body: { status: "CANCELED", reason: "CANCELED_BY_USER" },
      });
      await shop.stockIs(product, { available: 10, reserved: 0, sold: 0 });
      expect((await ledgerOf(orderId)) as unknown[]).toContainEqual(["refund", 1000]);
    }
  });

  test("an order under way: whenever it comes, in the end nothing is left", async () => {
    const product = await shop.putProduct(100);
    await putFaults("provider", { latencyMs: [50, 150] });
    try {
      const ids = await Promise.all(
        Array.from({ length: 12 }, async (_, at) => {
          const mode = at % 4 === 3 ? "choreography" : "orchestration";
          const orderId = await order(product, { mode });
          // At another point of the checkout each time, as far as it comes to that.
          const progress = expect.poll(() => entriesOf(orderId), { timeout: 20_000, interval: 10 });
          await progress.toBeGreaterThan(at % 6);
          const { status } = await post(`/orders/${orderId}/cancel`, ada, {});
          expect([200, 202]).toContain(status);
          return orderId;
        }),
      );
      for (const id of ids) expect((await shop.orderWith(id, "CANCELED")).reason).toBeDefined();
    } finally {
      await putFaults("provider", {});
    }
    await shop.stockIs(product, { available: 100, reserved: 0, sold: 0 });
  });
});

describe("a return", () => {
  test("over two purchases refunds what was paid, the newest first, and restocks", async () => {
    const product = await shop.putProduct(10);
    const older = await order(product);
    await shop.orderWith(older, "COMPLETED");
    const items = [
      { productId: product, quantity: 1, unitPrice: 300 },
      { productId: product, quantity: 1, unitPrice: 200 },
    ];
    const newer = await order(product, { items, ...onePhase });
    await shop.orderWith(newer, "COMPLETED");
    const key = randomUUID();
    const body = { userId: "ada", items: [{ productId: product, quantity: 3 }] };
    const answer = await post("/returns", ada, body, key);
    expect(answer).toMatchObject({ status: 201, body: { status: "PENDING", refund: 1000 } });
    expect(await post("/returns", ada, body, key)).toEqual(answer);
    await returnIsOver((answer.body as { returnId: string }).returnId);
    expect(await ledgerOf(newer)).toContainEqual(["refund", 500]);
    expect(await ledgerOf(older)).toContainEqual(["refund", 500]);
    await shop.stockIs(product, { available: 9, reserved: 0, sold: 1 });
    const more = { userId: "ada", items: [{ productId: product, quantity: 2 }] };
    expect(await post("/returns", ada, more)).toMatchObject({
      status: 422,
      body: { code: "NO_MATCHING_PURCHASE", errors: [{ path: "items.0.quantity" }] },
    });
    // What is left is undone with the order.
    expect((await post(`/orders/${older}/cancel`, merchant, {})).status).toBe(202);
    await shop.orderWith(older, "CANCELED");
    expect(await ledgerOf(older)).toEqual([
      ["authorize", 1000],
      ["capture", 1000],
      ["refund", 500],
      ["refund", 500],
    ]);
    await shop.stockIs(product, { available: 10, reserved: 0, sold: 0 });
  });

  test("right after a choreographed checkout waits for what inventory has not confirmed", async () => {
    const product = await shop.putProduct(10);
    await shop.orderWith(await order(product, { mode: "choreography" }), "COMPLETED");
    await returnIsOver(await returned(product, 1));
    await shop.stockIs(product, { available: 9, reserved: 0, sold: 1 });
  });
});

test("one key is one request: another body, another order, and another route are refused", async () => {
  const product = await shop.putProduct(10);
  const [one, other] = [await order(product), await order(product)];
  await shop.orderWith(one, "COMPLETED");
  await shop.orderWith(other, "COMPLETED");
  const key = randomUUID();
  expect((await post(`/orders/${one}/cancel`, ada, {}, key)).status).toBe(202);
  const reused = { status: 422, body: { code: "IDEMPOTENCY_KEY_REUSED" } };
  expect(await post(`/orders/${other}/cancel`, ada, {}, key)).toMatchObject(reused);
  const items = (quantity: number) => ({
    userId: "ada",
    items: [{ productId: product, quantity }],
  });
  expect(await post("/returns", ada, items(1), key)).toMatchObject(reused);
  const ofReturn = randomUUID();
  expect((await post("/returns", ada, items(1), ofReturn)).status).toBe(201);
  expect(await post("/returns", ada, items(2), ofReturn)).toMatchObject(reused);
  const placing = { items: [{ productId: product, quantity: 1, unitPrice: 5 }], currency: "GBP" };
  const ofOrder = randomUUID();
  const first: ShopAnswer = await post("/orders", ada, placing, ofOrder);
  expect(acceptedOrderSchema.parse(first.body).mode).toBe("orchestration");
  expect(await post("/orders", ada, placing, ofOrder)).toEqual(first);
  expect(await post("/orders", ada, { ...placing, mode: "choreography" }, ofOrder)).toMatchObject(
    reused,
  );
});

test("the timeline shows the saga's steps and compensations in every service", async () => {
  const product = await shop.putProduct(10);
  const payment = { method: "CARD", token: "tok_declined", flow: "two-phase" };
  const orderId = await order(product, { payment });
  await shop.orderWith(orderId, "CANCELED");
  const call = { url: shop.url, path: `/orders/${orderId}/timeline`, as: ada };
  const { entries } = await shop.client.ask(call, timelineSchema);
  const shown = entries.map(({ service, kind, what }) => `${service} ${kind}: ${what}`);
  for (const what of [
    "order step: create order",
    "inventory step: stock reserved",
    "payment step: authorize DECLINED",
    "inventory compensation: reservation released",
    "order compensation: cancel order",
  ]) {
    expect(shown).toContain(what);
  }
});

test("all services tell one story", async () => {
  await expect
    .poll(async () => (await shop.reconcile()).disagreements, { timeout: 30_000 })
    .toEqual([]);
  const { money, ok } = await shop.reconcile();
  expect(ok).toBe(true);
  expect([money.payments, money.provider]).toEqual([money.orders, money.orders]);
}, 60_000);
