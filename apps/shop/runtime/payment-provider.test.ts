/** Payment and the real provider: whatever is lost between them, money moves once, and both agree. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { RunningService } from "../chassis/config.ts";
import { createTestDatabase } from "../chassis/testing/test-database.ts";
import type { TestDatabase } from "../chassis/testing/test-database.ts";
import { DeliveryFailed, OrderCreated, StockReservationFailed } from "../contracts/events.ts";
import type { ProviderFaults } from "../contracts/http/faults.ts";
import { ledgerSchema } from "../contracts/http/provider.ts";
import type { PaymentOptions } from "../payment/start-provider-side.ts";
import {
  callAsService,
  configFor,
  eventually,
  newOrder,
  paymentOf,
  preparePayment,
  undoing,
} from "../payment/testing/payment-under-test.ts";
import type { PaymentUnderTest } from "../payment/testing/payment-under-test.ts";
import { startProvider } from "../provider/main.ts";

const quick: PaymentOptions = {
  claimMs: 1_000,
  retry: { baseMs: 20, maxMs: 300 },
};
const outOfStock = { reason: "OUT_OF_STOCK" as const, productId: "p-1" };

let database: TestDatabase;
let provider: RunningService;
let shop: PaymentUnderTest;
let instances: RunningService[] = [];

beforeAll(async () => {
  database = await createTestDatabase("provider");
  provider = await startProvider(configFor("provider", database.url));
  shop = await preparePayment(provider.url);
});

afterEach(async () => {
  await setFaults({});
  await Promise.all(instances.map((instance) => instance.stop()));
  instances = [];
});

afterAll(async () => {
  await shop[Symbol.asyncDispose]();
  await provider.stop();
  await database[Symbol.asyncDispose]();
});

async function start(options: PaymentOptions = quick): Promise<RunningService> {
  const instance = await shop.start(options);
  instances.push(instance);
  return instance;
}

async function setFaults(faults: ProviderFaults): Promise<void> {
  const answer = await fetch(`${provider.url}/faults`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(faults),
  });
  expect(answer.status).toBe(200);
}

/** What really happened to the money of one order. */
async function movesOf(orderId: string): Promise<readonly string[]> {
  const answer = await fetch(`${provider.url}/ledger?orderId=${orderId}`);
  const { entries } = ledgerSchema.parse(await answer.json());
  return entries.map(({ operation, amount }) => `${operation} ${amount}`);
}

async function rowOf(orderId: string): Promise<Record<string, unknown> | undefined> {
  const { rows } = await shop.pool.query<Record<string, unknown>>(
    "select * from payments where order_id = $1",
    [orderId],
  );
  return rows[0];
}

/** A point that attempts reach and wait at. */
function gate() {
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const wait = async (): Promise<void> => {
    reached.resolve();
    await opened.promise;
  };
  return { wait, reached: reached.promise, open: () => opened.resolve() };
}

describe("a charge", () => {
  test("is made, recorded and told of, and the card token is forgotten", async () => {
    const payment = await start();
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    const { data } = await shop.hears("payment.completed", order.orderId);
    const { payment: _card, currency: _currency, ...told } = order;
    expect(data).toMatchObject({ ...told, paymentId: expect.any(String) as string });
    expect(await movesOf(order.orderId)).toEqual(["charge 500"]);
    expect(await paymentOf(payment, order.orderId)).toEqual({
      orderId: order.orderId,
      amount: 500,
      refunded: 0,
      status: "COMPLETED",
      authorized: 0,
      captured: 0,
      charged: 500,
      voided: 0,
    });
    expect(await rowOf(order.orderId)).toMatchObject({
      card_token: null,
      provider_tx_id: expect.stringMatching(/^TX-/) as string,
      payment_type: "CARD",
      idempotency_key: `${order.sagaId}-payment-charge`,
    });
  });

  test.each([
    ["tok_declined", "PAYMENT_DECLINED"],
    ["tok_insufficient", "INSUFFICIENT_FUNDS"],
    ["tok_of_no_bank", "PAYMENT_DECLINED"],
  ])("of %s fails with %s", async (token, reason) => {
    await start();
    const order = newOrder(token);
    await shop.emit(OrderCreated, order);
    const { data } = await shop.hears("payment.failed", order.orderId);
    expect(data).toEqual({ orderId: order.orderId, sagaId: order.sagaId, reason });
    expect(await rowOf(order.orderId)).toMatchObject({
      status: "FAILED",
      reason,
      card_token: null,
    });
    expect(await movesOf(order.orderId)).toEqual([]);
  });

  test("whose answers are lost is asked for again until one arrives, and is one charge", async () => {
    await start();
    const order = newOrder();
    await setFaults({ answerLostRate: 1 });
    await shop.emit(OrderCreated, order);
    await eventually(
      async () => (Number((await rowOf(order.orderId))?.["attempts"]) > 2 ? true : undefined),
      "three attempts",
    );
    expect(shop.heardOf(order.orderId)).toEqual([]);
    await setFaults({});
    await shop.hears("payment.completed", order.orderId);
    expect(await movesOf(order.orderId)).toEqual(["charge 500"]);
  });

  test("that the provider answers after a minute is settled by asking again", async () => {
    await start({ ...quick, providerTimeoutMs: 200 });
    const order = newOrder("tok_timeout");
    await shop.emit(OrderCreated, order);
    await shop.hears("payment.completed", order.orderId);
    expect(await movesOf(order.orderId)).toEqual(["charge 500"]);
  });
});

describe("many charges", () => {
  async function placeOrders(count: number): Promise<readonly string[]> {
    const orders = Array.from({ length: count }, () => newOrder());
    await shop.emit(OrderCreated, ...orders);
    return orders.map((order) => order.orderId);
  }

  async function expectEachCharged(orderIds: readonly string[]): Promise<void> {
    for (const orderId of orderIds) {
      await shop.hears("payment.completed", orderId);
      expect(shop.heardOf(orderId)).toEqual(["payment.completed"]);
      expect(await movesOf(orderId)).toEqual(["charge 500"]);
    }
  }

  test("through a provider that fails every second request: each is one charge", async () => {
    await start();
    await setFaults({ failureRate: 0.5, answerLostRate: 0.3 });
    await expectEachCharged(await placeOrders(20));
  });

  test("through an outage wait for its end", async () => {
    await start();
    await setFaults({ outageMs: 700 });
    await expectEachCharged(await placeOrders(5));
  });

  test("of two instances, more at once than the provider takes: each is one charge", async () => {
    await start();
    await start();
    await setFaults({ latencyMs: [5, 30], answerLostRate: 0.2 });
    await expectEachCharged(await placeOrders(60));
  });
});

test("two instances share the work and never ask about one payment at the same time", async () => {
  const attempts: string[] = [];
  const beforeProvider = async ({ orderId }: { orderId: string }): Promise<void> => {
    attempts.push(orderId);
  };
  // Together no more than the provider takes, so that no attempt has to be repeated.
  const options = { faults: { beforeProvider }, inFlightMax: 4 };
  await start(options);
  await start(options);
  const orders = Array.from({ length: 80 }, () => newOrder());
  await shop.emit(OrderCreated, ...orders);
  for (const { orderId } of orders) await shop.hears("payment.completed", orderId);
  expect(attempts.toSorted()).toEqual(orders.map((order) => order.orderId));
});

describe("a process that dies between the provider's effect and our record", () => {
  test("in an attempt that ends there: the claim runs out and the same key is one charge", async () => {
    let deaths = 0;
    const afterProvider = async (): Promise<void> => {
      deaths += 1;
      if (deaths === 1) throw new Error("the process died here");
    };
    await start({ ...quick, claimMs: 300, faults: { afterProvider } });
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await shop.hears("payment.completed", order.orderId);
    expect(deaths).toBe(2);
    expect(await movesOf(order.orderId)).toEqual(["charge 500"]);
  });

  test("by SIGKILL: another process takes over and it is one charge", async () => {
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    const main = new URL("../payment/main.ts", import.meta.url).href;
    const program = `
      import { startPayment } from ${JSON.stringify(main)};
      const afterProvider = async () => process.kill(process.pid, "SIGKILL");
      const options = { claimMs: 300, faults: { afterProvider } };
      await startPayment(${JSON.stringify(shop.config)}, options);`;
    const flags = ["--conditions=dure-source", "--input-type=module", "--eval", program];
    const child = spawn(process.execPath, flags, { stdio: "ignore", timeout: 20_000 });
    const [, signal] = (await once(child, "exit")) as [number | null, string | null];
    expect(signal).toBe("SIGKILL");
    expect(await movesOf(order.orderId)).toEqual(["charge 500"]);
    expect(await rowOf(order.orderId)).toMatchObject({ status: "PROCESSING" });
    await start();
    await shop.hears("payment.completed", order.orderId);
    expect(await movesOf(order.orderId)).toEqual(["charge 500"]);
  });
});

describe("a refund", () => {
  test("follows a compensation once, also when both compensating events come", async () => {
    const payment = await start();
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await shop.hears("payment.completed", order.orderId);
    await setFaults({ answerLostRate: 0.5, failureRate: 0.3 });
    await shop.emit(StockReservationFailed, { ...undoing(order), ...outOfStock });
    await shop.emit(DeliveryFailed, { ...undoing(order), reason: "DELIVERY_REFUSED" });
    const { data } = await shop.hears("payment.refunded", order.orderId);
    expect(data).toMatchObject({ ...undoing(order), amount: 500 });
    expect(shop.heardOf(order.orderId)).toEqual(["payment.completed", "payment.refunded"]);
    expect(await movesOf(order.orderId)).toEqual(["charge 500", "refund 500"]);
    expect(await paymentOf(payment, order.orderId)).toMatchObject({
      status: "REFUNDED",
      refunded: 500,
    });
    const timeline = await callAsService(payment, `/internal/timeline/${order.orderId}`);
    expect((timeline as { entries: { what: string }[] }).entries.map((each) => each.what)).toEqual([
      "payment PROCESSING",
      "payment COMPLETED",
      "payment REFUNDING",
      "payment REFUNDED",
    ]);
  });
});

describe("a compensation that meets a charge under way", () => {
  test("after the provider's effect: the money goes back and the late result is dropped", async () => {
    const held = gate();
    let isFirst = true;
    const afterProvider = async (): Promise<void> => {
      if (!isFirst) return;
      isFirst = false;
      await held.wait();
    };
    await start({ ...quick, faults: { afterProvider } });
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await held.reached;
    await shop.emit(StockReservationFailed, { ...undoing(order), ...outOfStock });
    const { data } = await shop.hears("payment.failed", order.orderId);
    expect(data).toMatchObject({ reason: "OUT_OF_STOCK" });
    held.open();
    await Promise.all(instances.map((instance) => instance.stop()));
    expect(await movesOf(order.orderId)).toEqual(["charge 500", "refund 500"]);
    expect(await rowOf(order.orderId)).toMatchObject({ status: "FAILED", refunded_amount: "500" });
    expect(shop.heardOf(order.orderId)).toEqual(["payment.failed"]);
  });

  test("before the provider has it: the late charge is refused and no money moves", async () => {
    const held = gate();
    let isFirst = true;
    const beforeProvider = async (): Promise<void> => {
      if (!isFirst) return;
      isFirst = false;
      await held.wait();
    };
    const payment = await start({ ...quick, faults: { beforeProvider } });
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await held.reached;
    await shop.emit(DeliveryFailed, { ...undoing(order), reason: "DELIVERY_REFUSED" });
    await shop.hears("payment.failed", order.orderId);
    held.open();
    await payment.stop();
    expect(await movesOf(order.orderId)).toEqual([]);
    expect(await rowOf(order.orderId)).toMatchObject({ status: "FAILED", refunded_amount: "0" });
    expect(shop.heardOf(order.orderId)).toEqual(["payment.failed"]);
  });
});

describe("a provider that is away for too long", () => {
  test("loses the charge only when it has acknowledged that: a lost effect is given back", async () => {
    const payment = await start({ ...quick, giveUpAfterMs: 500 });
    const order = newOrder();
    await setFaults({ answerLostRate: 1 });
    await shop.emit(OrderCreated, order);
    await eventually(
      async () =>
        (await rowOf(order.orderId))?.["pending_operation"] === "cancel" ? true : undefined,
      "the cancellation's begin",
    );
    expect(await rowOf(order.orderId)).toMatchObject({ status: "PROCESSING", card_token: null });
    expect(shop.heardOf(order.orderId)).toEqual([]);
    await setFaults({});
    const { data } = await shop.hears("payment.failed", order.orderId);
    expect(data).toMatchObject({ reason: "PROVIDER_UNAVAILABLE" });
    expect(await movesOf(order.orderId)).toEqual(["charge 500", "refund 500"]);
    expect(await paymentOf(payment, order.orderId)).toMatchObject({
      status: "FAILED",
      refunded: 0,
    });
  });

  test("and never had the charge: nothing moves", async () => {
    await start({ ...quick, giveUpAfterMs: 300 });
    const order = newOrder();
    await setFaults({ outageMs: 1_500 });
    await shop.emit(OrderCreated, order);
    const { data } = await shop.hears("payment.failed", order.orderId);
    expect(data).toMatchObject({ reason: "PROVIDER_UNAVAILABLE" });
    expect(await movesOf(order.orderId)).toEqual([]);
  });
});
