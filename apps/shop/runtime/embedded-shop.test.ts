/** The whole shop in one process: what a newcomer gets from `npm start`, through its public API. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "dure/embedded";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEmbeddedShop } from "./embedded-shop.ts";
import type { RunningShop, ShopOptions } from "./embedded-shop.ts";
import { assertPortsAreFree, findFreeBasePort, postgresPortOffset, servicePorts } from "./ports.ts";
import { ada, merchant, shopAt } from "./testing/shop-under-test.ts";
import type { ShopUnderTest } from "./testing/shop-under-test.ts";

let options: ShopOptions;
let running: RunningShop;
let shop: ShopUnderTest;

beforeAll(async () => {
  // Folders of ordinary people have blanks in their names.
  const data = join(await mkdtemp(join(tmpdir(), "dure shop ")), "data");
  options = {
    basePort: await findFreeBasePort(),
    host: "127.0.0.1",
    data,
    fresh: false,
    rateLimit: false,
    logLevel: "silent",
  };
  running = await startEmbeddedShop(options);
  shop = shopAt(running.url);
}, 120_000);

afterAll(async () => {
  await running.stop();
  await rm(join(options.data, ".."), { recursive: true, force: true });
}, 60_000);

test("a checkout completes: the pieces are sold and the money is taken once", async () => {
  const product = await shop.putProduct(10);
  const orderId = await shop.order(product);
  const order = await shop.orderWith(orderId, "COMPLETED");
  expect(order).toMatchObject({ userId: "ada", amount: 1000, mode: "choreography" });
  await shop.stockIs(product, { available: 8, reserved: 0, sold: 2 });
  expect(await ledgerOf(orderId)).toEqual([["charge", 1000]]);
});

test("a declined card cancels the order and moves nothing", async () => {
  const product = await shop.putProduct(10);
  const payment = { method: "CARD", token: "tok_declined", flow: "one-phase" };
  const orderId = await shop.order(product, { payment });
  const order = await shop.orderWith(orderId, "CANCELED");
  expect(order.reason).toBe("PAYMENT_DECLINED");
  await shop.stockIs(product, { available: 10, reserved: 0, sold: 0 });
  expect(await ledgerOf(orderId)).toEqual([]);
});

test("an order of more than there is is canceled and its money comes back", async () => {
  const product = await shop.putProduct(1);
  const orderId = await shop.order(product);
  const order = await shop.orderWith(orderId, "CANCELED");
  expect(order.reason).toBe("OUT_OF_STOCK");
  await shop.stockIs(product, { available: 1, reserved: 0, sold: 0 });
  expect(await ledgerOf(orderId)).toEqual([
    ["charge", 1000],
    ["refund", 1000],
  ]);
});

test("a refused delivery cancels the order, and money and stock are back", async () => {
  const product = await shop.putProduct(10);
  await putFaults("delivery", { refuseRate: 1 });
  try {
    const orderId = await shop.order(product);
    const order = await shop.orderWith(orderId, "CANCELED");
    expect(order.reason).toBe("DELIVERY_REFUSED");
    await shop.stockIs(product, { available: 10, reserved: 0, sold: 0 });
    expect(await ledgerOf(orderId)).toEqual([
      ["charge", 1000],
      ["refund", 1000],
    ]);
  } finally {
    await putFaults("delivery", {});
  }
});

test("all services tell one story", async () => {
  const reconciliation = await shop.reconcile();
  expect(reconciliation.disagreements).toEqual([]);
  expect(reconciliation).toMatchObject({ ok: true, inFlight: 0 });
  const { orders, payments, provider } = reconciliation.money;
  expect([payments, provider]).toEqual([orders, orders]);
  expect(orders).toBeGreaterThan(0);
});

test("a shop that starts again knows its orders, its stock and its tokens", async () => {
  const product = await shop.putProduct(5);
  const orderId = await shop.order(product);
  await shop.orderWith(orderId, "COMPLETED");
  await shop.stockIs(product, { available: 3, sold: 2 });
  await running.stop();
  await running.stop();
  running = await startEmbeddedShop(options);

  // The client still shows the token that it got before.
  const own = await shop.client.send({ url: shop.url, path: `/orders/${orderId}`, as: ada });
  expect(own).toMatchObject({ status: 200, body: { status: "COMPLETED" } });
  await shop.stockIs(product, { available: 3, reserved: 0, sold: 2 });
  await shop.orderWith(await shop.order(product), "COMPLETED");
  expect((await shop.reconcile()).ok).toBe(true);
}, 90_000);

test("the secret behind the tokens is for its owner alone", async () => {
  const path = join(options.data, "secret");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await readFile(path, "utf8")).trim().length).toBeGreaterThanOrEqual(32);
});

test("a second shop at the same ports names the port and the way out", async () => {
  const data = join(options.data, "..", "other");
  await expect(startEmbeddedShop({ ...options, data })).rejects.toThrow(
    new RegExp(`Port ${options.basePort} is in use.*--port`),
  );
});

test("a second shop on the same data is refused, also with --fresh, and harms nothing", async () => {
  const basePort = await findFreeBasePort();
  for (const fresh of [false, true]) {
    await expect(startEmbeddedShop({ ...options, basePort, fresh })).rejects.toThrow(/in use/);
  }
  expect((await shop.reconcile()).ok).toBe(true);
});

test("a service that cannot start is named, and nothing stays behind", async () => {
  const basePort = await findFreeBasePort();
  const data = join(options.data, "..", "broken");
  await using server = await startEmbeddedPostgres({ dataDir: join(data, "postgres") });
  const client = new Client({ connectionString: await server.createDatabase("shop_payment") });
  await client.connect();
  await client.query(
    `create table migration (name text primary key, checksum text not null, applied_at timestamptz);
     insert into migration values ('0000_of_a_newer_version.sql', 'x', now())`,
  );
  await client.end();
  await server.stop();

  const start = startEmbeddedShop({ ...options, basePort, data });
  await expect(start).rejects.toThrow(/did not start, because of: payment/);
  await assertPortsAreFree("127.0.0.1", [...servicePorts(basePort), basePort + postgresPortOffset]);
}, 90_000);

test("--fresh takes away what the shop made, and leaves everything else", async () => {
  const basePort = await findFreeBasePort();
  const data = join(options.data, "..", "fresh");
  const first = await startEmbeddedShop({ ...options, basePort, data });
  await shopAt(first.url).order(await shopAt(first.url).putProduct(5));
  await first.stop();
  await writeFile(join(data, "diary.txt"), "mine");
  const second = await startEmbeddedShop({ ...options, basePort, data, fresh: true });
  try {
    expect(await shopAt(second.url).orderCount()).toBe(0);
    expect(await readFile(join(data, "diary.txt"), "utf8")).toBe("mine");
  } finally {
    await second.stop();
  }
}, 90_000);

async function ledgerOf(orderId: string): Promise<readonly (readonly [string, number])[]> {
  const url = running.urls.provider;
  const { body } = await shop.client.send({ url, path: `/ledger?orderId=${orderId}` });
  const { entries } = body as { entries: { operation: string; amount: number }[] };
  return entries.map(({ operation, amount }) => [operation, amount] as const);
}

async function putFaults(service: "delivery" | "provider", body: object): Promise<void> {
  const url = running.urls[service];
  const answer = await shop.client.send({
    url,
    path: "/faults",
    method: "PUT",
    body,
    as: merchant,
  });
  expect(answer.status).toBe(200);
}
