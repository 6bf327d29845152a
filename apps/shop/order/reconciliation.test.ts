import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { waitFor } from "./testing/wait-for.ts";
import * as events from "../contracts/events.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import { reconciliationSchema } from "../contracts/http/reconciliation.ts";
import { timelineSchema } from "../contracts/http/timeline.ts";
import { createOrderWorld } from "./testing/order-world.ts";
import type { OrderWorld } from "./testing/order-world.ts";

let world: OrderWorld;
const ids: { completed: string; canceled: string } = { completed: "", canceled: "" };
/** What the others answer; each test changes what it wants to be wrong. */
let told: ReturnType<typeof agreement>;

beforeAll(async () => {
  world = await createOrderWorld();
  const [completed, canceled] = [await world.place(), await world.place()];
  await world.place();
  await world.others.transaction(async (tx) => {
    const { orderId, sagaId } = completed;
    tx.emit(events.DeliveryStarted, { orderId, sagaId, deliveryId: "DEL-1" });
    const reason = "PAYMENT_DECLINED";
    tx.emit(events.PaymentFailed, { orderId: canceled.orderId, sagaId: canceled.sagaId, reason });
  });
  Object.assign(ids, { completed: completed.orderId, canceled: canceled.orderId });
  for (const id of Object.values(ids)) {
    const isFinal = async () => (await world.read(id)).status.endsWith("ED");
    await waitFor(isFinal, { what: "the end" });
  }
});
afterAll(() => world[Symbol.asyncDispose]());

function agreement() {
  const { completed: orderId, canceled } = ids;
  const balance = { authorized: 0, captured: 0, charged: 1100, voided: 0, refunded: 0 };
  return {
    payments: [
      { orderId, amount: 1100, charged: 1100, refunded: 0, status: "COMPLETED" },
      { orderId: canceled, amount: 1100, refunded: 0, status: "FAILED" },
    ],
    balances: [{ orderId, ...balance, net: 1100 }],
    // The order that is under way has its pieces set aside.
    reservations: [
      { orderId, productId: "cup", quantity: 1, status: "CONFIRMED" },
      { orderId, productId: "tea", quantity: 3, status: "CONFIRMED" },
    ],
    products: [
      { productId: "cup", available: 8, reserved: 1, sold: 1, adjusted: 10 },
      { productId: "tea", available: 4, reserved: 3, sold: 3, adjusted: 10 },
    ],
    deliveries: [{ orderId, status: "STARTED" }],
  };
}

beforeEach(() => {
  told = agreement();
  // One entry per page, to see that all pages are read.
  const paged = (name: string, rows: () => readonly unknown[]) => (url: URL) => {
    const at = Number(url.searchParams.get("after") ?? "0");
    const next = at + 1 < rows().length ? { next: String(at + 1) } : {};
    return { [name]: rows().slice(at, at + 1), ...next };
  };
  const pages = (service: string, what: string, name: string, rows: () => readonly unknown[]) =>
    world.answers.set(`/${service}/internal/${what}`, paged(name, rows));
  pages("payment", "payments", "payments", () => told.payments);
  pages("inventory", "reservations", "reservations", () => told.reservations);
  pages("inventory", "stock", "products", () => told.products);
  pages("delivery", "deliveries", "deliveries", () => told.deliveries);
  world.answers.set("/provider/ledger/summary", () => ({ orders: told.balances }));
});

const reconcile = (roles = "merchant") => world.call("/reconciliation", { roles });

test("all tell one story", async () => {
  expect(await reconcile()).toMatchObject({
    status: 200,
    body: {
      ok: true,
      orders: { COMPLETED: 1, CANCELED: 1, PENDING: 1 },
      inFlight: 1,
      money: { orders: 1100, payments: 1100, provider: 1100 },
      stock: { products: 2, available: 12, reserved: 4, sold: 4, adjusted: 20 },
      deliveries: { STARTED: 1, REFUSED: 0, STOPPED: 0 },
      disagreements: [],
    },
  });
  expect(await reconcile("operator")).toMatchObject({ status: 200 });
  expect(await reconcile("customer")).toMatchObject({ status: 403 });
});

test("what is only late is read again and not reported", async () => {
  told.reservations.forEach((reservation) => (reservation.status = "RESERVED"));
  const summary = world.answers.get("/provider/ledger/summary");
  world.answers.set("/provider/ledger/summary", (url) => {
    const answer = summary?.(url);
    told = agreement();
    return answer;
  });
  expect((await reconcile()).body).toMatchObject({ ok: true, disagreements: [] });
});

test("what stays wrong is reported, and what nobody ordered", async () => {
  const stray = "ORD-STRAY";
  const [balance] = told.balances;
  if (balance === undefined) throw new Error("there is a balance");
  told.balances = [
    { ...balance, charged: 2200, net: 2200 },
    { ...balance, orderId: stray },
  ];
  told.deliveries.push({ orderId: stray, status: "STARTED" });
  told.products[0] = { productId: "cup", available: 6, reserved: 1, sold: 3, adjusted: 10 };
  told.products.push({ productId: "pot", available: 3, reserved: 0, sold: 0, adjusted: 5 });
  const body = reconciliationSchema.parse((await reconcile()).body);
  expect(body.ok).toBe(false);
  expect(body.disagreements).toEqual([
    { kind: "provider-without-order", id: stray, expected: null, actual: "there" },
    { kind: "delivery-without-order", id: stray, expected: null, actual: "there" },
    { kind: "provider-net", id: ids.completed, expected: 1100, actual: 2200 },
    { kind: "stock-sold", id: "cup", expected: "1 to 2", actual: 3 },
    { kind: "stock-balance", id: "pot", expected: 5, actual: 3 },
  ]);
});

test("without one of the services nothing is claimed", async () => {
  world.answers.delete("/delivery/internal/deliveries");
  expect(await reconcile()).toMatchObject({ status: 503, body: { code: "NOT_READY" } });
});

test("the timeline merges all services by time, and names the one that is missing", async () => {
  const entry = (service: string, kind: string, at: string) => ({
    entries: [{ at, service, kind, what: "charged", detail: { amount: 1100, note: null } }],
  });
  const path = (service: string) => `/${service}/internal/timeline/${ids.completed}`;
  world.answers.set(path("payment"), () => entry("payment", "payment", "2020-01-01T00:00:00Z"));
  world.answers.set(path("delivery"), () =>
    entry("delivery", "status", "2090-01-01T00:00:00.123456Z"),
  );
  world.answers.set(path("notification"), () => "nonsense");
  const body = timelineSchema.parse((await world.call(`/orders/${ids.completed}/timeline`)).body);
  expect(body.orderId).toBe(ids.completed);
  const seen = body.entries.map(({ service, what }) => `${service} ${what}`);
  expect(seen.at(0)).toBe("payment charged");
  expect(body.entries[0]).toEqual({
    at: "2020-01-01T00:00:00.000Z",
    service: "payment",
    kind: "payment",
    what: "charged",
    details: { amount: 1100 },
  });
  expect(seen.at(-1)).toBe("delivery charged");
  expect(seen).toContain("order POST /orders");
  expect(seen).toContain("order order COMPLETED");
  expect(seen).toContain("order heard delivery.started");
  expect(seen).toContain("notification missing: the notification service does not answer");
  const part = await world.call(`/internal/timeline/${ids.completed}`, { roles: "merchant" });
  expect(TimelinePart.parse(part.body).entries.length).toBeGreaterThan(3);
});

test("20,000 orders are compared within seconds", async () => {
  await world.database.pool.query(
    `with placed as (
       insert into orders (id, user_id, amount, currency, mode, status, idempotency_key,
         saga_id, line_count)
       select 'load-' || n, 'load', 100, 'GBP', 'choreography', 'COMPLETED', n, 'load-' || n, 5
       from generate_series(1, 20000) as n returning id
     )
     insert into order_items (order_id, line, product_id, quantity, unit_price)
     select id, line, 'bulk-' || line, 1, 20 from placed, generate_series(1, 5) as line`,
  );
  const loaded = Array.from({ length: 20_000 }, (_, at) => `load-${at + 1}`);
  const [products, lines] = [[1, 2, 3, 4, 5].map((line) => `bulk-${line}`), 5];
  told.products.push(
    ...products.map((productId) => ({
      productId,
      available: 0,
      reserved: 0,
      sold: loaded.length,
      adjusted: loaded.length,
    })),
  );
  const zero = { authorized: 0, captured: 0, voided: 0, refunded: 0 };
  told.balances.push(...loaded.map((orderId) => ({ orderId, ...zero, charged: 100, net: 100 })));
  const rows = {
    payments: loaded.map((orderId) => {
      return { orderId, amount: 100, charged: 100, refunded: 0, status: "COMPLETED" };
    }),
    reservations: Array.from({ length: loaded.length * lines }, (_, at) => ({
      orderId: `load-${Math.floor(at / lines) + 1}`,
      productId: `bulk-${(at % lines) + 1}`,
      quantity: 1,
      status: "CONFIRMED",
    })),
    deliveries: loaded.map((orderId) => ({ orderId, status: "STARTED" })),
  };
  const all = agreement();
  world.answers.set("/payment/internal/payments", () => ({
    payments: [...all.payments, ...rows.payments],
  }));
  world.answers.set("/inventory/internal/reservations", () => ({
    reservations: [...all.reservations, ...rows.reservations],
  }));
  world.answers.set("/delivery/internal/deliveries", () => ({
    deliveries: [...all.deliveries, ...rows.deliveries],
  }));
  const startedAtMs = performance.now();
  const body = reconciliationSchema.parse((await reconcile()).body);
  const tookMs = performance.now() - startedAtMs;
  expect(body).toMatchObject({ ok: true, orders: { COMPLETED: 20_001 } });
  // It takes less than a second when nothing else runs.
  expect(tookMs).toBeLessThan(15_000);
}, 60_000);
