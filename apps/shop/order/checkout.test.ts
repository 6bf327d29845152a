import { createDure } from "dure";
import { createSagaControl } from "dure/admin";
import type { Dure, EventDefinition } from "dure";
import { postgresAdmin, postgresStore } from "dure/postgres";
import type { PoolClient } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "./testing/wait-for.ts";
import { createLogger } from "../chassis/logger.ts";
import * as events from "../contracts/events.ts";
import type { AcceptedOrder } from "../contracts/http/orders.ts";
import { hear } from "./checkout.ts";
import type { HeardEvent } from "./checkout.ts";
import type { FlowEvent } from "./flow.ts";
import { createOrderWorld, someOrder } from "./testing/order-world.ts";
import type { OrderWorld } from "./testing/order-world.ts";
import { permutationsOf } from "./testing/permutations.ts";

let world: OrderWorld;

beforeAll(async () => {
  world = await createOrderWorld({ deadlineMs: 400, watchEveryMs: 50 });
});
afterAll(() => world[Symbol.asyncDispose]());

const idsOf = ({ orderId, sagaId }: AcceptedOrder) => ({ orderId, sagaId });

type Fact = readonly [FlowEvent, HeardEvent["reason"]?];

const scenarios = {
  completed: {
    facts: [["payment.completed"], ["stock.reserved"], ["delivery.started"]],
    end: { status: "COMPLETED", stage: "DELIVERY_STARTED" },
  },
  declined: {
    facts: [["payment.failed", "PAYMENT_DECLINED"]],
    end: { status: "CANCELED", stage: "ACCEPTED", reason: "PAYMENT_DECLINED" },
  },
  "out of stock": {
    facts: [
      ["payment.completed"],
      ["stock.reservation-failed", "OUT_OF_STOCK"],
      ["payment.refunded", "OUT_OF_STOCK"],
    ],
    end: { status: "CANCELED", stage: "PAYMENT_CHARGED", reason: "OUT_OF_STOCK" },
  },
  "delivery refused": {
    facts: [
      ["payment.completed"],
      ["stock.reserved"],
      ["delivery.failed", "DELIVERY_REFUSED"],
      ["payment.refunded", "DELIVERY_REFUSED"],
      ["stock.released", "DELIVERY_REFUSED"],
    ],
    end: { status: "CANCELED", stage: "STOCK_RESERVED", reason: "DELIVERY_REFUSED" },
  },
} as const satisfies Record<string, { facts: readonly Fact[]; end: Record<string, string> }>;

const legal: readonly string[] = [
  "PENDING>PROCESSING",
  "PENDING>CANCELING",
  "PROCESSING>PROCESSING",
  "PROCESSING>COMPLETED",
  "PROCESSING>CANCELING",
  "CANCELING>CANCELING",
  "CANCELING>CANCELED",
];

describe("whatever the order of arrival, the order ends the same", () => {
  const logger = createLogger({ service: "order", level: "silent" });
  const inParallel = 6;

  test.each(Object.entries(scenarios))(
    "%s",
    async (_name, { facts, end }) => {
      // The handler's own work in the service's database, in an order that the test decides.
      const dure = createDure({
        service: "order",
        store: postgresStore<PoolClient>({ pool: world.database.pool }),
      });
      const arrivals = permutationsOf<Fact>(facts).values();
      const ended: string[] = [];
      const work = async () => {
        for (const arrival of arrivals) ended.push(await checkArrival(dure, arrival, end));
      };
      await Promise.all(Array.from({ length: inParallel }, work));
      const last = ended.map((orderId) => `order.${end.status.toLowerCase()} ${orderId}`);
      const isTold = () => last.every((event) => world.heard.includes(event));
      await waitFor(isTold, { what: "all ends to be told", timeoutMs: 60_000 });
      expect(world.heard.filter((event) => last.includes(event))).toHaveLength(last.length);
      await dure.stop();
    },
    120_000,
  );

  async function checkArrival(
    dure: Dure<PoolClient>,
    arrival: readonly Fact[],
    end: Readonly<Record<string, string>>,
  ): Promise<string> {
    const { orderId } = await world.place();
    // The first one comes once more at the end, as another message.
    for (const [type, reason] of [...arrival, ...arrival.slice(0, 1)]) {
      const event = { type, messageId: `${type}-${orderId}`, at: "2026-01-01T00:00:00Z", orderId };
      const heard = { ...event, details: {}, ...(reason === undefined ? {} : { reason }) };
      const onCompleted = async () => undefined;
      const options = { logger, onCompleted };
      await dure.transaction((tx) => hear(tx, heard, options));
    }
    const arrived = arrival.map(([type]) => type).join(" ");
    const view = await world.read(orderId);
    expect(view, arrived).toMatchObject(end);
    const statuses: string[] = view.history.map((entry) => entry.status);
    const steps = statuses.slice(1).map((status, at) => `${statuses[at]}>${status}`);
    expect(
      steps.filter((step) => !legal.includes(step)),
      arrived,
    ).toEqual([]);
    expect(statuses.indexOf(end["status"] ?? ""), arrived).toBe(statuses.length - 1);
    return orderId;
  }
});

const sagaStatusOf = async (sagaId: string): Promise<string | undefined> => {
  const { rows } = await world.database.pool.query<{ status: string }>(
    "select status from dure.saga_instance where saga_id = $1 and business_key is not null",
    [sagaId],
  );
  return rows[0]?.status;
};

describe("over the bus", () => {
  const publish = <Input, Output>(definition: EventDefinition<Input, Output>, data: Input) =>
    world.others.transaction(async (tx) => tx.emit(definition, data));

  test("a checkout goes through to the end", async () => {
    const ids = idsOf(await world.place());
    const status = async () => (await world.read(ids.orderId)).status;
    await publish(events.PaymentCompleted, {
      ...ids,
      userId: "ada",
      paymentId: "PAY-1",
      amount: 1100,
      items: [...someOrder.items],
    });
    await waitFor(async () => (await status()) === "PROCESSING", { what: "PROCESSING" });
    await publish(events.StockReserved, { ...ids, userId: "ada" });
    await publish(events.DeliveryStarted, { ...ids, deliveryId: "DEL-1" });
    await waitFor(async () => (await status()) === "COMPLETED", { what: "COMPLETED" });
    const last = `order.completed ${ids.orderId}`;
    await waitFor(() => world.heard.includes(last), { what: last });
    const ended = async () => (await sagaStatusOf(ids.sagaId)) === "COMPLETED";
    await waitFor(ended, { what: "its saga instance to be COMPLETED" });
  });

  test("a refused delivery is undone; what comes afterwards changes nothing", async () => {
    const ids = idsOf(await world.place());
    const reason = "DELIVERY_REFUSED" as const;
    await publish(events.StockReleased, { ...ids, reason });
    await publish(events.PaymentRefunded, { ...ids, amount: 1100, reason });
    await waitFor(async () => (await world.read(ids.orderId)).status === "CANCELED", {
      what: "CANCELED",
    });
    const before = await world.read(ids.orderId);
    await publish(events.DeliveryFailed, { ...ids, reason });
    await publish(events.PaymentCompleted, {
      ...ids,
      userId: "ada",
      paymentId: "PAY-2",
      amount: 1100,
      items: [...someOrder.items],
    });
    const seen = async () => {
      const { rows } = await world.database.pool.query<{ count: number }>(
        "select count(*)::int from order_saga_events where saga_id = $1",
        [ids.sagaId],
      );
      return rows[0]?.count === 4;
    };
    await waitFor(seen, { what: "all events" });
    expect(await world.read(ids.orderId)).toEqual(before);
    const undone = async () => (await sagaStatusOf(ids.sagaId)) === "COMPENSATED";
    await waitFor(undone, { what: "its saga instance to be COMPENSATED" });
    expect(await world.read(ids.orderId)).toEqual(before);
  });

  test("an event of an order that is not there is a dead letter", async () => {
    await publish(events.PaymentFailed, { orderId: "ORD-x", sagaId: "S", reason: "TIMED_OUT" });
    const dead = async () =>
      (await world.call("/metrics")).text.includes('dead_letters{service="order"} 1');
    await waitFor(dead, { what: "the dead letter" });
  });
});

test("a checkout that waits too long is reported with the service that it waits for", async () => {
  const ids = idsOf(await world.place());
  const lateFor = async () => {
    const { rows } = await world.database.pool.query<{ service: string }>(
      "select service from dure.flow_wait where saga_id = $1 and overdue_at is not null",
      [ids.sagaId],
    );
    return rows[0]?.service;
  };
  await waitFor(async () => (await lateFor()) === "payment", { what: "the watch" });
  const { text } = await world.call("/metrics");
  expect(text).toMatch(/shop_checkouts_overdue\{.*waiting_for="payment".*\} [1-9]/);
  const timeline = await world.call(`/orders/${ids.orderId}/timeline`);
  expect(timeline.text).toContain("waits too long for payment");
  await world.others.transaction(async (tx) =>
    tx.emit(events.StockReserved, { ...ids, userId: "ada" }),
  );
  await waitFor(async () => (await lateFor()) === "delivery", { what: "the watch again" });
});

test("one that an operator ends by hand ends the order, and what comes afterwards changes nothing", async () => {
  const ids = idsOf(await world.place());
  await waitFor(async () => (await sagaStatusOf(ids.sagaId)) !== undefined, {
    what: "the saga instance",
  });
  const admin = createSagaControl({
    store: postgresAdmin({ pool: world.database.pool }).sagas,
    plans: new Map(),
    onCommand: () => undefined,
  });
  const by = { actor: "olga", reason: "the card was never charged", as: "COMPENSATED" } as const;
  expect(await admin.resolve(ids.sagaId, by)).toBe(true);
  const canceled = async () => (await world.read(ids.orderId)).status === "CANCELED";
  await waitFor(canceled, { what: "the order to be CANCELED" });
  const before = await world.read(ids.orderId);
  expect(before.reason).toBe("CANCELED_BY_USER");
  await world.others.transaction(async (tx) =>
    tx.emit(events.StockReserved, { ...ids, userId: "ada" }),
  );
  const heard = async () =>
    (await world.call(`/orders/${ids.orderId}/timeline`)).text.includes("heard stock.reserved");
  await waitFor(heard, { what: "the late event" });
  expect(await world.read(ids.orderId)).toEqual(before);
});
