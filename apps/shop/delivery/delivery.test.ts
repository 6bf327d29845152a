import { systemClock } from "dure";
import type { Clock } from "dure";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startUnderTest } from "../chassis/testing/service-under-test.ts";
import type { ServiceUnderTest } from "../chassis/testing/service-under-test.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { StockReserved } from "../contracts/events.ts";
import type { ParticipantFaults } from "../contracts/http/faults.ts";
import { DeliveriesPage, TimelinePart } from "../contracts/http/internal.ts";
import { startDelivery } from "./main.ts";

let shop: ServiceUnderTest;
let dice: () => number = () => 0;
const clock: Clock = { ...systemClock, random: () => dice() };

beforeAll(async () => {
  shop = await startUnderTest("delivery", (config) => startDelivery(config, clock));
});

afterEach(async () => {
  dice = () => 0;
  await setFaults({});
});

afterAll(async () => {
  await shop[Symbol.asyncDispose]();
});

/** Patient, because the machine may be busy with other tests. */
const poll = <T>(ask: () => T) => expect.poll(ask, { timeout: 10_000 });

let count = 0;

async function reserve(): Promise<string> {
  const orderId = `O-${(count += 1)}`;
  await shop.emit(StockReserved, { orderId, sagaId: `SAGA-${orderId}`, userId: "ada" });
  return orderId;
}

async function setFaults(faults: ParticipantFaults): Promise<void> {
  expect(await shop.put("/faults", faults)).toMatchObject({ status: 200, body: faults });
}

async function statusOf(orderId: string): Promise<string | undefined> {
  const { body } = await shop.call("/internal/deliveries?limit=5000");
  const { deliveries } = DeliveriesPage.parse(body);
  return deliveries.find((delivery) => delivery.orderId === orderId)?.status;
}

async function timelineOf(orderId: string) {
  const { body } = await shop.call(`/internal/timeline/${orderId}`);
  return TimelinePart.parse(body).entries;
}

async function rowOf(orderId: string): Promise<Record<string, unknown>> {
  const { rows } = await shop.pool.query<Record<string, unknown>>(
    "select * from deliveries where order_id = $1",
    [orderId],
  );
  return rows[0] ?? {};
}

test("a reserved order is delivered, once, and says what caused it", async () => {
  const orderId = await reserve();
  const { data } = await shop.hears("delivery.started", orderId);
  expect(data).toMatchObject({ orderId, sagaId: `SAGA-${orderId}` });
  expect(data["deliveryId"]).toMatch(/^DEL-/);
  expect(await statusOf(orderId)).toBe("STARTED");
  expect((await timelineOf(orderId)).map((entry) => entry.what)).toEqual([
    "delivery asked for",
    "delivery started",
  ]);
  await shop.publishAllAgain();
  await shop.hears("delivery.started", await reserve());
  const started = shop.heard.filter((event) => event.type === "delivery.started");
  expect(started.filter((event) => event.data["orderId"] === orderId)).toHaveLength(1);
});

test("a carrier that refuses for good ends it", async () => {
  await setFaults({ refuseRate: 1 });
  const orderId = await reserve();
  const { data } = await shop.hears("delivery.failed", orderId);
  expect(data).toEqual({ orderId, sagaId: `SAGA-${orderId}`, reason: "DELIVERY_REFUSED" });
  expect(await statusOf(orderId)).toBe("REFUSED");
});

test("a carrier that does not answer is asked again until it does", async () => {
  await setFaults({ failureRate: 1 });
  const orderId = await reserve();
  await poll(async () => (await rowOf(orderId))["attempt_count"]).toBeGreaterThan(3);
  expect(await rowOf(orderId)).toMatchObject({
    status: "PENDING",
    last_error: "Error: the carrier did not answer",
  });
  expect(await statusOf(orderId)).toBeUndefined();
  await setFaults({});
  await shop.hears("delivery.started", orderId);
});

test("what the carrier has decided for a key stays decided", async () => {
  const orderId = `O-${count + 1}`;
  await shop.pool.query(
    `insert into carrier_bookings (idempotency_key, order_id, outcome)
     values ($1, $2, 'refused')`,
    [`SAGA-${orderId}-delivery-start`, orderId],
  );
  expect(await reserve()).toBe(orderId);
  await shop.hears("delivery.failed", orderId);
});

test("a slow carrier holds no transaction, and many parcels are booked at once", async () => {
  await setFaults({ latencyMs: 900 });
  const orders = await Promise.all(Array.from({ length: 10 }, () => reserve()));
  await poll(async () =>
    Promise.all(orders.map(async (id) => (await rowOf(id))["attempt_count"])),
  ).toEqual(orders.map(() => 1));
  const { rows } = await shop.pool.query(
    `select count(*)::int as open from pg_stat_activity
     where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()
       and clock_timestamp() - xact_start > interval '600 milliseconds'`,
  );
  expect(rows).toEqual([{ open: 0 }]);
  for (const orderId of orders) await shop.hears("delivery.started", orderId);
});

describe("a claim", () => {
  test("of an instance that died runs out, and another one goes on", async () => {
    await setFaults({ failureRate: 1 });
    const orderId = await reserve();
    await poll(async () => (await rowOf(orderId))["attempt_count"]).toBeGreaterThan(0);
    await shop.pool.query(
      `update deliveries set attempt_count = attempt_count + 1000,
         claimed_until = clock_timestamp() + interval '1 second' where order_id = $1`,
      [orderId],
    );
    await setFaults({});
    await shop.hears("delivery.started", orderId);
    expect((await rowOf(orderId))["attempt_count"]).toBeGreaterThan(1000);
  });

  test("is one instance's: two of them share the work", async () => {
    const second = await startDelivery(shop.config, clock);
    try {
      await setFaults({ latencyMs: 50 });
      const orders = await Promise.all(Array.from({ length: 40 }, () => reserve()));
      for (const orderId of orders) await shop.hears("delivery.started", orderId);
      const rows = await Promise.all(orders.map(rowOf));
      expect(rows.map((row) => row["attempt_count"])).toEqual(orders.map(() => 1));
    } finally {
      await second.stop();
    }
  });
});

test("stopping in the middle of a booking gives it back, and the next start goes on", async () => {
  await using second = await startUnderTest("delivery", (config) => startDelivery(config, clock));
  expect((await second.put("/faults", { latencyMs: 60_000 })).status).toBe(200);
  await second.emit(StockReserved, { orderId: "O-slow", sagaId: "SAGA-slow", userId: "ada" });
  const count = async (where: string) =>
    (await second.pool.query(`select from deliveries where ${where}`)).rowCount;
  await poll(() => count("attempt_count = 1")).toBe(1);
  await second.stop();
  expect(
    await count("status = 'PENDING' and claimed_until is null and due_at <= clock_timestamp()"),
  ).toBe(1);
  const next = await startDelivery(second.config, clock);
  try {
    await second.hears("delivery.started", "O-slow");
  } finally {
    await next.stop();
  }
});

test("pages end", async () => {
  const seen: string[] = [];
  let after = "";
  for (;;) {
    const { body } = await shop.call(`/internal/deliveries?limit=10&after=${after}`);
    const page = DeliveriesPage.parse(body);
    seen.push(...page.deliveries.map((delivery) => delivery.orderId));
    if (page.next === undefined) break;
    after = page.next;
  }
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.length).toBe(count);
});

describe("what is refused", () => {
  test.each<[string, unknown]>([
    ["a rate above 1", { refuseRate: 2 }],
    ["a range upside down", { latencyMs: [2, 1] }],
    ["the provider's fault", { answerLostRate: 1 }],
    ["text", { failureRate: "1" }],
  ])("%s", async (_name, faults) => {
    const answer = await shop.put("/faults", faults);
    expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
  });

  test("a caller that is no service, and faults outside demo mode", async () => {
    const headers = { authorization: `Bearer ${await userToken({ roles: ["operator"] })}` };
    for (const path of ["/internal/deliveries", "/internal/timeline/O-1"]) {
      expect(await shop.call(path, { headers })).toMatchObject({ status: 401 });
    }
    const real = await startUnderTest("delivery", (config) => startDelivery(config), {
      demo: false,
    });
    expect(await real.put("/faults", {})).toMatchObject({ status: 404 });
    await real[Symbol.asyncDispose]();
  });
});
