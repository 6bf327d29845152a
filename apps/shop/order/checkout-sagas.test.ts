/** A saga drives a checkout to its end, whatever the participants answer, and the order shows it. */
import { createDure, SagaClosed, SagaParked } from "dure";
import { createSagaControl } from "dure/admin";
import { postgresAdmin, postgresStore } from "dure/postgres";
import type { PoolClient } from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { NewOrder, OrderView } from "../contracts/http/orders.ts";
import { createOrderWorld, someOrder } from "./testing/order-world.ts";
import type { OrderWorld } from "./testing/order-world.ts";
import { problem } from "./testing/played-participants.ts";
import { waitFor } from "./testing/wait-for.ts";

let world: OrderWorld;

beforeAll(async () => {
  world = await createOrderWorld({ watchEveryMs: 100 });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.participants.answers.clear());

type Flow = "two-phase" | "one-phase";

const twoPhase: NewOrder = { items: someOrder.items, currency: "GBP" };
const card = { method: "CARD", token: "tok_visa" } as const;
const bodies: Readonly<Record<Flow, NewOrder>> = {
  "two-phase": twoPhase,
  "one-phase": { ...twoPhase, payment: { ...card, flow: "one-phase" } },
};

const place = (flow: Flow) => world.place({ body: bodies[flow] });

async function ends(orderId: string, status: OrderView["status"]): Promise<OrderView> {
  const what = `${orderId} to be ${status}`;
  await waitFor(async () => (await world.read(orderId)).status === status, { what });
  return world.read(orderId);
}

const keysOf = (orderId: string, sagaId: string) =>
  world.participants.stepsOf(orderId).map(({ key, compensates }) => {
    const undone = compensates === undefined ? "" : ` undoes ${compensates}`;
    return `${key}${undone}`.replaceAll(`${sagaId}-`, "");
  });

const historyOf = ({ history }: OrderView) => history.map((entry) => entry.status);

/** What an operator has at hand. */
const control = () =>
  createSagaControl({
    store: postgresAdmin({ pool: world.database.pool }).sagas,
    plans: new Map(),
    onCommand: () => undefined,
  });

async function sagaStatus(sagaId: string): Promise<unknown> {
  const text = "select status from dure.saga_instance where saga_id = $1";
  const { rows } = await world.database.pool.query<{ status: string }>(text, [sagaId]);
  return rows[0]?.status;
}

test.each<[Flow, readonly string[]]>([
  [
    "two-phase",
    [
      "inventory-reserve",
      "payment-authorize",
      "inventory-confirm",
      "payment-capture",
      "delivery-start",
    ],
  ],
  ["one-phase", ["inventory-reserve", "payment-charge", "inventory-confirm", "delivery-start"]],
])("%s: each step is asked for once, with its key, its token and the trace", async (flow, keys) => {
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const placing = { body: bodies[flow], headers: { traceparent } };
  const { orderId, sagaId, mode } = await world.place(placing);
  expect(mode).toBe("orchestration");
  await ends(orderId, "COMPLETED");
  expect(keysOf(orderId, sagaId)).toEqual(keys);
  const asked = world.participants.stepsOf(orderId);
  const tokens = asked.map(({ fencingToken }) => fencingToken);
  expect(tokens).toEqual(tokens.toSorted((one, other) => one - other));
  expect(new Set(tokens).size).toBe(tokens.length);
  for (const step of asked) {
    expect(step.body).toMatchObject({ orderId, sagaId });
    expect(step.requestId).toBe(sagaId);
    expect(step.traceparent).toContain("4bf92f3577b34da6a3ce929d0e0e4736");
  }
  const completed = `order.completed ${orderId}`;
  await waitFor(() => world.heard.includes(completed), { what: completed });
  // Payment would charge by it.
  expect(world.heard).not.toContain(`order.created ${orderId}`);
});

describe("what a participant refuses is undone in reverse, for its reason", () => {
  const held = ["inventory-reserve", "payment-authorize"];
  const letGo = [
    "payment-void undoes payment-authorize",
    "inventory-cancel undoes inventory-reserve",
  ];
  test.each<[string, Flow, string, string, readonly string[]]>([
    ["inventory-reserve", "two-phase", "OUT_OF_STOCK", "OUT_OF_STOCK", ["inventory-reserve"]],
    [
      "inventory-reserve",
      "two-phase",
      "HELD_BY_ANOTHER_ORDER",
      "HELD_BY_ANOTHER_ORDER",
      ["inventory-reserve"],
    ],
    [
      "payment-authorize",
      "two-phase",
      "PAYMENT_DECLINED",
      "PAYMENT_DECLINED",
      [...held, "inventory-cancel undoes inventory-reserve"],
    ],
    [
      "inventory-confirm",
      "two-phase",
      "RESERVATION_EXPIRED",
      "TIMED_OUT",
      [...held, "inventory-confirm", ...letGo],
    ],
    [
      "payment-capture",
      "two-phase",
      "VERSION_CONFLICT",
      "PAYMENT_DECLINED",
      [
        ...held,
        "inventory-confirm",
        "payment-capture",
        "inventory-unconfirm undoes inventory-confirm",
        ...letGo,
      ],
    ],
    [
      "delivery-start",
      "one-phase",
      "DELIVERY_REFUSED",
      "DELIVERY_REFUSED",
      [
        "inventory-reserve",
        "payment-charge",
        "inventory-confirm",
        "delivery-start",
        "inventory-unconfirm undoes inventory-confirm",
        "payment-refund undoes payment-charge",
        "inventory-cancel undoes inventory-reserve",
      ],
    ],
  ])("%s (%s): %s", async (step, flow, code, reason, keys) => {
    world.participants.answers.set(step, () => problem(409, code));
    const { orderId, sagaId } = await place(flow);
    const order = await ends(orderId, "CANCELED");
    expect(order.reason).toBe(reason);
    expect(keysOf(orderId, sagaId)).toEqual(keys);
    expect(historyOf(order).slice(-2)).toEqual(["CANCELING", "CANCELED"]);
    const canceled = `order.canceled ${orderId}`;
    await waitFor(() => world.heard.includes(canceled), { what: canceled });
  });
});

test("an unknown outcome is asked for again with the same key, and nothing else", async () => {
  let unknown = 2;
  world.participants.answers.set("payment-authorize", () =>
    (unknown -= 1) >= 0 ? problem(504, "OUTCOME_UNKNOWN") : undefined,
  );
  const { orderId, sagaId } = await place("two-phase");
  await ends(orderId, "COMPLETED");
  const keys = keysOf(orderId, sagaId);
  expect(keys.filter((key) => key === "payment-authorize")).toHaveLength(3);
  expect(new Set(keys).size).toBe(5);
});

describe("a saga that is parked", () => {
  test("shows on its order, and the order goes on when an operator resumes it", async () => {
    world.participants.answers.set("delivery-start", () => problem(409, "DELIVERY_REFUSED"));
    const { orderId, sagaId } = await place("two-phase");
    const parked = await ends(orderId, "NEEDS_ATTENTION");
    expect(parked.stage).toBe("PAYMENT_CAPTURED");
    const cancel = { method: "POST", key: `cancel-${orderId}`, body: {} };
    expect(await world.call(`/orders/${orderId}/cancel`, cancel)).toMatchObject({
      status: 409,
      body: { code: "ORDER_NEEDS_ATTENTION" },
    });
    world.participants.answers.clear();
    const { sagas } = postgresStore<PoolClient>({ pool: world.database.pool });
    const body = { kind: "command", command: "retry", actor: "op", why: "the carrier came round" };
    await sagas.signal(undefined, sagaId, { dedupKey: "retry-1", body });
    const order = await ends(orderId, "COMPLETED");
    expect(historyOf(order).slice(-3)).toEqual(["NEEDS_ATTENTION", "PROCESSING", "COMPLETED"]);
  });

  test.each([
    ["COMPLETED", "COMPLETED"],
    ["COMPENSATED", "CANCELED"],
  ] as const)("and resolved as %s by an operator is %s", async (as, status) => {
    world.participants.answers.set("delivery-start", () => problem(409, "DELIVERY_REFUSED"));
    const { orderId, sagaId } = await place("two-phase");
    await ends(orderId, "NEEDS_ATTENTION");
    await control().resolve(sagaId, { actor: "op", reason: "seen to it by hand", as });
    const order = await ends(orderId, status);
    expect(historyOf(order)).toContain("NEEDS_ATTENTION");
    const told = `order.${status.toLowerCase()} ${orderId}`;
    await waitFor(() => world.heard.includes(told), { what: told });
  });

  test("and resumed is not set back by an alert that comes late", async () => {
    const { orderId, sagaId } = await place("two-phase");
    await ends(orderId, "COMPLETED");
    // As if the saga had been parked and resumed before anybody heard of it.
    const { pool } = world.database;
    await pool.query("update orders set status = 'PROCESSING' where id = $1", [orderId]);
    const dure = createDure({ service: "order", store: postgresStore<PoolClient>({ pool }) });
    const alert = { sagaId, definition: "checkout-two-phase", version: 1, owed: [] };
    const why = { status: "FAILED", step: "start-delivery", code: "X", error: "x" } as const;
    await dure.transaction(async (tx) => tx.emit(SagaParked, { ...alert, ...why }));
    const handled = async () => {
      const { rows } = await pool.query<{ count: number }>(
        "select count(*)::int from dure.outbox_message where topic = 'alert' and key = $1",
        [sagaId],
      );
      return rows[0]?.count === 1;
    };
    await waitFor(handled, { what: "the alert" });
    // Heard in order: what is sent behind it in the same topic has been handled when this has.
    await dure.transaction(async (tx) =>
      tx.emit(SagaClosed, {
        sagaId,
        definition: alert.definition,
        version: 1,
        status: "COMPLETED",
        code: "RESOLVED",
        error: "",
        actor: "op",
      }),
    );
    const order = await ends(orderId, "COMPLETED");
    expect(historyOf(order)).not.toContain("NEEDS_ATTENTION");
    await dure.stop();
  });
});

describe("canceling", () => {
  const cancel = (orderId: string, key = `cancel-${orderId}`) =>
    world.call(`/orders/${orderId}/cancel`, { method: "POST", key, body: {} });

  test.each([
    "inventory-reserve",
    "payment-authorize",
    "inventory-confirm",
    "payment-capture",
    "delivery-start",
  ])("while %s is under way ends in CANCELED with everything undone", async (step) => {
    const [entered, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    world.participants.answers.set(step, () => {
      entered.resolve();
      return isReleased ? undefined : problem(503, "PROVIDER_THROTTLED");
    });
    let isReleased = false;
    void release.promise.then(() => (isReleased = true));
    const { orderId, sagaId } = await place("two-phase");
    await entered.promise;
    expect(await cancel(orderId)).toMatchObject({ status: 202 });
    release.resolve();
    const order = await ends(orderId, "CANCELED");
    expect(order.reason).toBe("CANCELED_BY_USER");
    const asked = new Set(world.participants.asked.map(({ key }) => key));
    const captured = keysOf(orderId, sagaId).includes("payment-capture");
    // Past the pivot the order is completed first, and then undone by a saga of its own.
    expect(historyOf(order).includes("COMPLETED")).toBe(captured);
    const { rows } = await world.database.pool.query<{ saga_id: string | null }>(
      "select saga_id from order_cancellations where order_id = $1",
      [orderId],
    );
    const suffixes = ["delivery-stop", "payment-refund", "inventory-restock"];
    const undoing = rows[0]?.saga_id ?? "none";
    for (const suffix of captured ? suffixes : []) {
      expect(asked).toContain(`${undoing}-${suffix}`);
    }
    expect(asked.has(`${sagaId}-inventory-cancel`)).toBe(!captured);
    const statuses = captured ? ["COMPLETED"] : ["COMPENSATED"];
    expect(statuses).toContain(await sagaStatus(sagaId));
  });

  describe("before the saga has begun", () => {
    /** An order whose saga no process takes up before `go`. */
    async function placeHeld() {
      const { pool } = world.database;
      await pool.query(
        `create or replace function hold_saga() returns trigger language plpgsql as
         'begin new.wake_at := null; return new; end';
         create trigger hold_saga before insert on dure.saga_live
         for each row execute function hold_saga()`,
      );
      const placed = await place("two-phase");
      await pool.query("drop trigger hold_saga on dure.saga_live");
      const text = "update dure.saga_live set wake_at = clock_timestamp() where saga_id = $1";
      return { ...placed, go: async () => void (await pool.query(text, [placed.sagaId])) };
    }

    const sagaIsOver = (sagaId: string) =>
      waitFor(async () => (await sagaStatus(sagaId)) === "COMPENSATED", { what: "the saga" });

    test("leaves nothing to undo, and the saga finds that", async () => {
      const { orderId, sagaId, go } = await placeHeld();
      expect(await cancel(orderId)).toMatchObject({ status: 200, body: { status: "CANCELED" } });
      await go();
      await sagaIsOver(sagaId);
      expect(keysOf(orderId, sagaId)).toEqual([]);
      const { status, history } = await world.read(orderId);
      expect([status, history.length]).toEqual(["CANCELED", 3]);
    });

    test("by an operator, who knows the saga only, cancels the order too", async () => {
      const { orderId, sagaId, go } = await placeHeld();
      const { sagas } = postgresStore<PoolClient>({ pool: world.database.pool });
      const body = { kind: "command", command: "cancel", actor: "op", why: "CANCELED_BY_USER" };
      await sagas.signal(undefined, sagaId, { dedupKey: "op-1", body });
      await go();
      await sagaIsOver(sagaId);
      expect((await ends(orderId, "CANCELED")).reason).toBe("CANCELED_BY_USER");
      expect(keysOf(orderId, sagaId)).toEqual([]);
    });
  });

  test("20 times at once with one key is one cancel with one answer; other keys find it done", async () => {
    const { orderId } = await place("two-phase");
    await ends(orderId, "COMPLETED");
    const answers = await Promise.all(Array.from({ length: 20 }, () => cancel(orderId)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    const isReplayed = answers.filter(({ headers }) => headers.has("idempotent-replayed"));
    expect(isReplayed).toHaveLength(19);
    await ends(orderId, "CANCELED");
    expect(await cancel(orderId, "another")).toMatchObject({ status: 200 });
    const refunds = world.participants.stepsOf(orderId).filter((x) => x.step === "payment-refund");
    expect(refunds).toHaveLength(1);
    expect(refunds[0]?.body).toMatchObject({ amount: 1100, reason: "CANCELED_BY_USER" });
  });

  test("40 times at once needs no more connections than there are", async () => {
    let isReleased = false;
    world.participants.answers.set("payment-authorize", () =>
      isReleased ? undefined : problem(503, "PROVIDER_THROTTLED"),
    );
    const { orderId } = await place("two-phase");
    const isAsked = () =>
      world.participants.stepsOf(orderId).some(({ step }) => step === "payment-authorize");
    await waitFor(isAsked, { what: "the payment" });
    const answers = await Promise.all(Array.from({ length: 40 }, () => cancel(orderId)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    isReleased = true;
    await ends(orderId, "CANCELED");
  });

  test("is for the owner, merchants and operators; to others the order is not there", async () => {
    const { orderId } = await place("two-phase");
    const path = `/orders/${orderId}/cancel`;
    const call = { method: "POST", key: "k", body: {} };
    expect(await world.call(path, { ...call, userId: "eve" })).toMatchObject({ status: 404 });
    expect(await world.call(path, { ...call, body: { x: 1 } })).toMatchObject({ status: 400 });
    await ends(orderId, "COMPLETED");
    const operator = { ...call, userId: "olga", roles: "operator" };
    expect(await world.call(path, operator)).toMatchObject({ status: 202 });
    await ends(orderId, "CANCELED");
  });
});
