/** Delivery as a participant: the carrier decides once per key, and whoever asks hears the same. */
import { systemClock } from "dure";
import type { Clock } from "dure";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { eventually, startUnderTest } from "../chassis/testing/service-under-test.ts";
import type { ServiceUnderTest } from "../chassis/testing/service-under-test.ts";
import { createStepCaller } from "../chassis/testing/step-caller.ts";
import type { StepCaller } from "../chassis/testing/step-caller.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { StockReserved } from "../contracts/events.ts";
import { startDelivery as startStep, stopDelivery } from "../contracts/http/delivery-steps.ts";
import type { ParticipantFaults } from "../contracts/http/faults.ts";
import { DeliveriesPage, TimelinePart } from "../contracts/http/internal.ts";
import { startDelivery } from "./main.ts";

let shop: ServiceUnderTest;
let caller: StepCaller;
const clock: Clock = { ...systemClock, random: () => 0 };

beforeAll(async () => {
  shop = await startUnderTest("delivery", (config) => startDelivery(config, clock));
  caller = createStepCaller("delivery", shop.url);
});

afterEach(() => setFaults({}));

afterAll(async () => {
  await caller.close();
  await shop[Symbol.asyncDispose]();
});

async function setFaults(faults: ParticipantFaults): Promise<void> {
  expect(await shop.put("/faults", faults)).toMatchObject({ status: 200 });
}

let count = 0;

function newSaga() {
  const orderId = `O-STEP-${(count += 1)}`;
  const owner = { orderId, sagaId: `SAGA-${orderId}` };
  const cancel = { orderId, sagaId: `SAGA-CANCEL-${orderId}` };
  const key = `${owner.sagaId}-delivery-start`;
  return {
    ...owner,
    start: () => caller.ask(startStep, { ...owner, userId: "ada" }, { key }),
    stop: () => caller.ask(stopDelivery, cancel, { key: `${cancel.sagaId}-delivery-stop` }),
  };
}

async function statusOf(orderId: string): Promise<string | undefined> {
  const { body } = await shop.call("/internal/deliveries?limit=5000");
  const { deliveries } = DeliveriesPage.parse(body);
  return deliveries.find((delivery) => delivery.orderId === orderId)?.status;
}

async function storyOf(orderId: string): Promise<readonly string[]> {
  const { body } = await shop.call(`/internal/timeline/${orderId}`);
  return TimelinePart.parse(body).entries.map((entry) => `${entry.kind}: ${entry.what}`);
}

const unknown = { code: "OUTCOME_UNKNOWN", status: 504, isOutcomeUnknown: true };

test("a delivery starts once, stops once, and its start is answered as before", async () => {
  const saga = newSaga();
  const answers = await Promise.all(Array.from({ length: 10 }, () => saga.start()));
  expect(answers[0]).toMatchObject({ code: "OK", body: { status: "STARTED" } });
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  expect(await statusOf(saga.orderId)).toBe("STARTED");
  for (const _again of [1, 2]) {
    expect(await saga.stop()).toEqual({ code: "OK", body: { status: "STOPPED" } });
  }
  expect(await saga.start()).toEqual(answers[0]);
  expect(await statusOf(saga.orderId)).toBe("STOPPED");
  expect(await storyOf(saga.orderId)).toEqual([
    "step: delivery asked for",
    "step: delivery started",
    "step: delivery stopped",
  ]);
});

test("a carrier that refuses for good has refused for good", async () => {
  const saga = newSaga();
  await setFaults({ refuseRate: 1 });
  const refused = { code: "DELIVERY_REFUSED", status: 409, isOutcomeUnknown: false };
  expect(await saga.start()).toMatchObject(refused);
  await setFaults({});
  expect(await saga.start()).toMatchObject(refused);
  expect(await statusOf(saga.orderId)).toBe("REFUSED");
  expect(await saga.stop()).toEqual({ code: "OK", body: { status: "NOTHING_TO_STOP" } });
});

test("a carrier that does not answer leaves it open, and is asked again without anyone's call", async () => {
  const saga = newSaga();
  await setFaults({ failureRate: 1 });
  expect(await saga.start()).toMatchObject(unknown);
  expect(await saga.start()).toMatchObject(unknown);
  expect(await saga.stop()).toMatchObject({ code: "VERSION_CONFLICT", status: 409 });
  await setFaults({});
  await eventually(() => statusOf(saga.orderId), "the carrier's answer");
  expect(await saga.start()).toMatchObject({ code: "OK", body: { status: "STARTED" } });
  expect(await saga.stop()).toEqual({ code: "OK", body: { status: "STOPPED" } });
});

test("a carrier slower than any caller is of unknown outcome, and is not booked twice", async () => {
  const saga = newSaga();
  await setFaults({ latencyMs: 60_000 });
  expect(await saga.start()).toMatchObject(unknown);
  await setFaults({});
  const { body } = await saga.start();
  const { rows } = await shop.pool.query(
    "select count(*)::int as bookings from carrier_bookings where order_id = $1",
    [saga.orderId],
  );
  expect(body).toMatchObject({ status: "STARTED" });
  expect(rows).toEqual([{ bookings: 1 }]);
});

test("what an orchestrator starts is told of by no event, and what it did not start is not its own", async () => {
  const saga = newSaga();
  await saga.start();
  const orderId = `O-STEP-${(count += 1)}`;
  await shop.emit(StockReserved, { orderId, sagaId: "SAGA-choreographed", userId: "ada" });
  await shop.hears("delivery.started", orderId);
  const rival = { orderId, sagaId: "SAGA-rival", userId: "ada" };
  const refused = await caller.ask(startStep, rival, { key: "SAGA-rival-delivery-start" });
  expect(refused).toMatchObject({ code: "VERSION_CONFLICT", status: 409 });
  expect(shop.heard.filter((event) => event.data["orderId"] === saga.orderId)).toEqual([]);
});

test("a caller without a service's token is refused", async () => {
  const headers = {
    authorization: `Bearer ${await userToken({ roles: ["operator"] })}`,
    "content-type": "application/json",
  };
  for (const { path } of [startStep, stopDelivery]) {
    const init = { method: "POST", body: "{}", headers };
    expect(await shop.call(path, init)).toMatchObject({ status: 401 });
  }
});
