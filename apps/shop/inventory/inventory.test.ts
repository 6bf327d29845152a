import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Principal } from "../chassis/principal.ts";
import { eventually, startUnderTest } from "../chassis/testing/service-under-test.ts";
import type { ServiceUnderTest } from "../chassis/testing/service-under-test.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { DeliveryFailed, DeliveryStarted, PaymentCompleted } from "../contracts/events.ts";
import { ReservationsPage, StockPage, TimelinePart } from "../contracts/http/internal.ts";
import { startInventory } from "./main.ts";

let shop: ServiceUnderTest;
const merchant: Principal = { userId: "mia", roles: ["merchant"] };

beforeAll(async () => {
  shop = await startUnderTest("inventory", startInventory);
});

afterAll(async () => {
  await shop[Symbol.asyncDispose]();
});

/** Patient, because the machine may be busy with other tests. */
const poll = <T>(ask: () => T) => expect.poll(ask, { timeout: 10_000 });

let count = 0;
const newId = (prefix: string) => `${prefix}-${(count += 1)}`;

async function newProduct(available: number): Promise<string> {
  const productId = newId("P");
  const answer = await shop.put(`/products/${productId}`, { name: "A thing", available }, merchant);
  expect(answer.status).toBe(200);
  return productId;
}

type Lines = readonly (readonly [productId: string, quantity: number])[];

function paid(orderId: string, lines: Lines) {
  const items = lines.map(([productId, quantity]) => ({ productId, quantity, unitPrice: 100 }));
  const owner = { orderId, sagaId: `SAGA-${orderId}` };
  return { ...owner, userId: "ada", paymentId: `PAY-${orderId}`, amount: 100, items };
}

/** Pays for a new order and waits for inventory's answer. */
async function order(...lines: Lines): Promise<string> {
  const orderId = newId("O");
  await shop.emit(PaymentCompleted, paid(orderId, lines));
  await shop.hears("stock.reserved", orderId);
  return orderId;
}

async function refusal(...lines: Lines) {
  const orderId = newId("O");
  await shop.emit(PaymentCompleted, paid(orderId, lines));
  return (await shop.hears("stock.reservation-failed", orderId)).data;
}

async function stockOf(productId: string): Promise<readonly unknown[]> {
  const { available, reserved, sold } = (await shop.call(`/products/${productId}`)).body;
  return [available, reserved, sold];
}

async function reservationsOf(orderId: string) {
  const { body } = await shop.call("/internal/reservations");
  const { reservations } = ReservationsPage.parse(body);
  return reservations.filter((reservation) => reservation.orderId === orderId);
}

async function timelineOf(orderId: string) {
  const { body } = await shop.call(`/internal/timeline/${orderId}`);
  return TimelinePart.parse(body).entries;
}

const started = (orderId: string) => ({
  orderId,
  sagaId: `SAGA-${orderId}`,
  deliveryId: `D-${orderId}`,
});
const refused = (orderId: string) => ({
  orderId,
  sagaId: `SAGA-${orderId}`,
  reason: "DELIVERY_REFUSED" as const,
});

describe("an order's stock", () => {
  test("is set aside, and sold when delivery starts", async () => {
    const [apple, book] = [await newProduct(10), await newProduct(1)];
    const orderId = await order([apple, 3], [book, 1]);
    expect(await stockOf(apple)).toEqual([7, 3, 0]);
    expect(await stockOf(book)).toEqual([0, 1, 0]);
    await shop.emit(DeliveryStarted, started(orderId));
    await poll(() => stockOf(apple)).toEqual([7, 0, 3]);
    expect(await stockOf(book)).toEqual([0, 0, 1]);
    expect(await reservationsOf(orderId)).toMatchObject([
      { productId: apple, quantity: 3, status: "CONFIRMED" },
      { productId: book, quantity: 1, status: "CONFIRMED" },
    ]);
    const story = (await timelineOf(orderId)).map((entry) => entry.what);
    expect(story).toEqual(["stock reserved", "reservation confirmed"]);
  });

  test("is available again when delivery refuses, and everybody hears why", async () => {
    const apple = await newProduct(5);
    const orderId = await order([apple, 5]);
    await shop.emit(DeliveryFailed, refused(orderId));
    const { data } = await shop.hears("stock.released", orderId);
    expect(data).toEqual(refused(orderId));
    expect(await stockOf(apple)).toEqual([5, 0, 0]);
    expect(await reservationsOf(orderId)).toMatchObject([{ quantity: 5, status: "RELEASED" }]);
    expect((await timelineOf(orderId)).at(-1)).toMatchObject({
      kind: "compensation",
      detail: { reason: "DELIVERY_REFUSED" },
    });
  });

  test("holds a semantic lock that its saga owns until the end", async () => {
    const orderId = await order([await newProduct(1), 1]);
    const read = async () => {
      const { rows } = await shop.pool.query(
        `select reservation_status as lock, saga_id, idempotency_key as key,
           extract(epoch from expired_at - lock_acquired_at)::int as seconds
         from stock_reservations where order_id = $1`,
        [orderId],
      );
      return rows[0] as Record<string, unknown>;
    };
    const sagaId = `SAGA-${orderId}`;
    const key = `${sagaId}-inventory-reserve`;
    expect(await read()).toEqual({ lock: "RESERVED", saga_id: sagaId, key, seconds: 1800 });
    await shop.emit(DeliveryStarted, started(orderId));
    await poll(read).toMatchObject({ lock: "AVAILABLE" });
  });

  test("on several lines of one product is needed in total", async () => {
    const apple = await newProduct(5);
    expect(await refusal([apple, 3], [apple, 3])).toMatchObject({ reason: "OUT_OF_STOCK" });
    const orderId = await order([apple, 3], [apple, 2]);
    expect(await stockOf(apple)).toEqual([0, 5, 0]);
    expect(await reservationsOf(orderId)).toMatchObject([{ quantity: 5 }]);
  });
});

describe("a reservation that cannot be made", () => {
  test("says which product is missing, and changes nothing", async () => {
    const [apple, book] = [await newProduct(10), await newProduct(1)];
    expect(await refusal([apple, 3], [book, 2])).toMatchObject({
      reason: "OUT_OF_STOCK",
      productId: book,
    });
    expect([await stockOf(apple), await stockOf(book)]).toEqual([
      [10, 0, 0],
      [1, 0, 0],
    ]);
    const unknown = await refusal([apple, 3], ["no-such-product", 1]);
    expect(unknown).toMatchObject({ reason: "UNKNOWN_PRODUCT", productId: "no-such-product" });
    expect(await reservationsOf(String(unknown["orderId"]))).toEqual([]);
    expect(await timelineOf(String(unknown["orderId"]))).toMatchObject([
      { what: "stock reservation refused", detail: { reason: "UNKNOWN_PRODUCT" } },
    ]);
  });

  test("tells what other orders hold from what is gone", async () => {
    const apple = await newProduct(5);
    const orderId = await order([apple, 4]);
    expect(await refusal([apple, 2])).toMatchObject({ reason: "HELD_BY_ANOTHER_ORDER" });
    await shop.emit(DeliveryStarted, started(orderId));
    await poll(() => stockOf(apple)).toEqual([1, 0, 4]);
    expect(await refusal([apple, 2])).toMatchObject({ reason: "OUT_OF_STOCK" });
  });

  test("is not made after all when its message comes after its compensation", async () => {
    const apple = await newProduct(5);
    const orderId = newId("O");
    await shop.emit(DeliveryFailed, refused(orderId));
    await shop.hears("stock.released", orderId);
    const late = paid(orderId, [[apple, 1]]);
    // The second is of the same key, so it is answered after the first.
    await shop.emit(PaymentCompleted, late, { ...late, sagaId: "SAGA-another" });
    await shop.hears("stock.reserved", orderId);
    expect(await deadLetters()).toBe(0);
    expect(await stockOf(apple)).toEqual([4, 1, 0]);
  });
});

async function deadLetters(): Promise<number> {
  const text = await (await fetch(`${shop.url}/metrics`)).text();
  return Number(/^dure_dead_letters\S* (\d+)/m.exec(text)?.[1]);
}

/** Pays for many orders of one piece each, as fast as it goes. */
async function payAtOnce(orderCount: number, productId: string): Promise<readonly string[]> {
  const orders = Array.from({ length: orderCount }, () => newId("O"));
  await Promise.all(
    orders.map((orderId) => shop.emit(PaymentCompleted, paid(orderId, [[productId, 1]]))),
  );
  return orders;
}

/** Waits until every order is answered; the answers of one type. */
async function answersTo(orders: readonly string[], type: string) {
  const types = ["stock.reserved", "stock.reservation-failed"];
  const answers = () =>
    shop.heard.filter(
      (event) => types.includes(event.type) && orders.includes(String(event.data["orderId"])),
    );
  await poll(() => answers().length).toBe(orders.length);
  return answers().filter((event) => event.type === type);
}

describe("many orders at once", () => {
  test("for ten pieces, at two instances: exactly ten get one, and the sums hold", async () => {
    const second = await startInventory(shop.config);
    try {
      const apple = await newProduct(10);
      const orders = await payAtOnce(100, apple);
      const reserved = await answersTo(orders, "stock.reserved");
      const failed = await answersTo(orders, "stock.reservation-failed");
      expect([reserved.length, failed.length]).toEqual([10, 90]);
      for (const { data } of failed) expect(data["reason"]).toBe("HELD_BY_ANOTHER_ORDER");
      expect(await stockOf(apple)).toEqual([0, 10, 0]);
    } finally {
      await second.stop();
    }
  });

  test("while a merchant changes the stock leave sums that match the journal", async () => {
    const apple = await newProduct(20);
    const changes = Array.from({ length: 15 }, (_, at) =>
      shop.put(`/products/${apple}`, { name: "A thing", available: at * 3 }, merchant),
    );
    const orders = await payAtOnce(30, apple);
    for (const { status } of await Promise.all(changes)) expect(status).toBe(200);
    const reserved = await answersTo(orders, "stock.reserved");
    const { rows } = await shop.pool.query<{ sum: number }>(
      "select sum(quantity)::int as sum from stock_adjustments where product_id = $1",
      [apple],
    );
    expect(await stockOf(apple)).toEqual([
      (rows[0]?.sum ?? 0) - reserved.length,
      reserved.length,
      0,
    ]);
  });

  test("of the same products in opposite orders do not wait in a ring", async () => {
    const products = await Promise.all(Array.from({ length: 6 }, () => newProduct(1000)));
    const lines = products.map((productId) => [productId, 1] as const);
    const orders = Array.from({ length: 120 }, () => newId("O"));
    const payments = orders.map((orderId, at) => {
      const some = [lines[at % 6], lines[(at * 5 + 1) % 6]].filter((line) => line !== undefined);
      return paid(orderId, some);
    });
    // In one commit, so that they come in batches that share a transaction.
    await shop.emit(PaymentCompleted, ...payments);
    for (const orderId of orders) await shop.hears("stock.reserved", orderId);
    const { rows } = await shop.pool.query(
      "select deadlocks::int from pg_stat_database where datname = current_database()",
    );
    expect(rows).toEqual([{ deadlocks: 0 }]);
    expect(await deadLetters()).toBe(0);
  });

  test("that are all delivered twice move everything once", async () => {
    const apple = await newProduct(50);
    const sold = await order([apple, 2]);
    const released = await order([apple, 3]);
    await shop.emit(DeliveryStarted, started(sold));
    await shop.emit(DeliveryFailed, refused(released));
    await shop.hears("stock.released", released);
    await poll(() => stockOf(apple)).toEqual([48, 0, 2]);
    await shop.publishAllAgain();
    // What comes behind the copies proves that they were handled, on the same partitions.
    const last = await order([apple, 1]);
    await shop.emit(DeliveryFailed, refused(last));
    await shop.hears("stock.released", last);
    await poll(async () => /dure_inbox_duplicates\S* [1-9]/.test(await metrics())).toBe(true);
    expect(await stockOf(apple)).toEqual([48, 0, 2]);
    for (const orderId of [sold, released]) {
      const answers = shop.heard.filter((event) => event.data["orderId"] === orderId);
      const types = answers.map((event) => event.type).filter((type) => type.startsWith("stock."));
      expect(new Set(types).size).toBe(types.length);
    }
  });
});

async function metrics(): Promise<string> {
  return (await fetch(`${shop.url}/metrics`)).text();
}

describe("products", () => {
  test("are set, journalled and told of; what is reserved and sold stays", async () => {
    const apple = await newProduct(5);
    await order([apple, 2]);
    const set = (available: number, name = "A thing") =>
      shop.put(`/products/${apple}`, { name, available }, merchant);
    expect((await set(1)).body).toEqual({
      productId: apple,
      name: "A thing",
      available: 1,
      reserved: 2,
      sold: 0,
    });
    const tells = (ids: unknown) => Array.isArray(ids) && ids.includes(apple);
    const told = () => shop.heard.filter((event) => tells(event.data["productIds"])).length;
    await poll(told).toBe(3);
    await set(1);
    expect((await set(1, "Another thing")).body).toMatchObject({ name: "Another thing" });
    await poll(told).toBe(4);
    const { rows } = await shop.pool.query(
      "select quantity::int, adjusted_by from stock_adjustments where product_id = $1 order by id",
      [apple],
    );
    expect(rows).toEqual([
      { quantity: 5, adjusted_by: "mia" },
      { quantity: -2, adjusted_by: "mia" },
    ]);
  });

  test("add up to their journals, page by page", async () => {
    const seen: StockRow[] = [];
    let after: string | undefined;
    do {
      const query = after === undefined ? "" : `&after=${encodeURIComponent(after)}`;
      const page = StockPage.parse((await shop.call(`/internal/stock?limit=3${query}`)).body);
      seen.push(...page.products);
      after = page.next;
    } while (after !== undefined);
    expect(new Set(seen.map((product) => product.productId)).size).toBe(seen.length);
    expect(seen.length).toBeGreaterThan(10);
    for (const { available, reserved, sold, adjusted } of seen) {
      expect(available + reserved + sold).toBe(adjusted);
    }
  });

  test("pages of reservations never split an order", async () => {
    const products = [await newProduct(5), await newProduct(5), await newProduct(5)];
    const orderId = await order(...products.map((productId) => [productId, 1] as const));
    const { body } = await shop.call("/internal/reservations?limit=5000");
    const all = ReservationsPage.parse(body).reservations;
    const before = all.filter((row) => row.orderId < orderId).at(-1)?.orderId ?? "";
    const page = await shop.call(`/internal/reservations?limit=1&after=${before}`);
    expect(ReservationsPage.parse(page.body)).toMatchObject({
      reservations: [{ orderId }, { orderId }, { orderId }],
      next: orderId,
    });
  });
});

type StockRow = ReturnType<typeof StockPage.parse>["products"][number];

describe("what is refused", () => {
  test.each<[string, unknown]>([
    ["text for a number", { name: "x", available: "3" }],
    ["less than nothing", { name: "x", available: -1 }],
    ["half a piece", { name: "x", available: 0.5 }],
    ["no name", { available: 1 }],
    ["an unknown field", { name: "x", available: 1, sold: 0 }],
    ["a control character", { name: "x\u0000", available: 1 }],
  ])("%s", async (_name, body) => {
    const answer = await shop.put("/products/P-bad", body, merchant);
    expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
  });

  test("a product that does not exist, a customer's change, a caller that is no service", async () => {
    expect(await shop.call("/products/nothing")).toMatchObject({ status: 404 });
    const body = { name: "x", available: 1 };
    const customer: Principal = { userId: "ada", roles: ["customer"] };
    expect(await shop.put("/products/P-bad", body, customer)).toMatchObject({ status: 403 });
    const headers = { authorization: `Bearer ${await userToken({ roles: ["merchant"] })}` };
    for (const path of ["/products/x", "/internal/stock", "/internal/reservations"]) {
      expect(await shop.call(path, { headers })).toMatchObject({ status: 401 });
    }
    expect(await shop.call("/internal/stock?limit=0")).toMatchObject({ status: 400 });
  });
});

test("a reservation beyond its time is counted and kept", async () => {
  const orderId = await order([await newProduct(1), 1]);
  await shop.pool.query(
    "update stock_reservations set expired_at = clock_timestamp() where order_id = $1",
    [orderId],
  );
  await eventually(
    async () => (/inventory_expired_reservations\S* 1/.test(await metrics()) ? true : undefined),
    "the gauge",
  );
  expect(await reservationsOf(orderId)).toMatchObject([{ status: "RESERVED" }]);
});
