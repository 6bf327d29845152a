import { systemClock } from "dure";
import type { Clock } from "dure";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startUnderTest } from "../chassis/testing/service-under-test.ts";
import type { ServiceUnderTest } from "../chassis/testing/service-under-test.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { OrderCanceled, OrderCompleted } from "../contracts/events.ts";
import type { ParticipantFaults } from "../contracts/http/faults.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import type { Letter, SendChannel } from "./channels.ts";
import { startNotification } from "./main.ts";
import { notificationsSchema } from "./reports.ts";

let shop: ServiceUnderTest;
/** Rests after failures are as long as chance says: not at all. */
const clock: Clock = { ...systemClock, random: () => 0 };
let failingSms: (letter: Letter) => "sent" | "refused" = () => "sent";
const letters: Letter[] = [];
const sms: SendChannel = {
  send: async (letter) => {
    const outcome = failingSms(letter);
    letters.push(letter);
    return outcome;
  },
};

beforeAll(async () => {
  shop = await startUnderTest("notification", (config) =>
    startNotification(config, clock, { SMS: sms }),
  );
});

afterEach(async () => {
  failingSms = () => "sent";
  await setFaults({});
});

afterAll(async () => {
  await shop[Symbol.asyncDispose]();
});

/** Patient, because the machine may be busy with other tests. */
const poll = <T>(ask: () => T) => expect.poll(ask, { timeout: 10_000 });

let count = 0;
const endOf = (orderId: string) => ({
  orderId,
  sagaId: `SAGA-${orderId}`,
  userId: "ada",
  amount: 1205,
  currency: "GBP",
});

async function complete(): Promise<string> {
  const orderId = `O-${(count += 1)}`;
  await shop.emit(OrderCompleted, endOf(orderId));
  return orderId;
}

async function setFaults(faults: ParticipantFaults): Promise<void> {
  expect(await shop.put("/faults", faults)).toMatchObject({ status: 200, body: faults });
}

async function notificationsOf(orderId: string) {
  const { body } = await shop.call(`/internal/notifications?orderId=${orderId}`);
  return notificationsSchema.parse(body).notifications;
}

const statusesOf = async (orderId: string) =>
  Object.fromEntries((await notificationsOf(orderId)).map((each) => [each.channel, each.status]));

test("a customer is told by SMS and e-mail that the order is on its way", async () => {
  const orderId = await complete();
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "SENT" });
  expect(await notificationsOf(orderId)).toMatchObject([
    { recipient: "ada", template: "ORDER_COMPLETED", attempts: 1 },
    { recipient: "ada", template: "ORDER_COMPLETED", attempts: 1 },
  ]);
  const letter = letters.find(({ body }) => body.includes(`${orderId} `));
  expect(letter).toMatchObject({ recipient: "ada", key: expect.stringMatching(/-SMS$/) as string });
});

test("a canceled order is told of too, with its reason", async () => {
  const orderId = `O-${(count += 1)}`;
  await shop.emit(OrderCanceled, { ...endOf(orderId), reason: "OUT_OF_STOCK" });
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "SENT" });
  expect(letters.at(-1)?.body).toContain("out of stock");
});

test("an event that comes twice tells once", async () => {
  const orderId = await complete();
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "SENT" });
  await shop.publishAllAgain();
  const next = await complete();
  await poll(() => statusesOf(next)).toEqual({ SMS: "SENT", EMAIL: "SENT" });
  const twice = letters.map((letter) => letter.key);
  expect(new Set(twice).size).toBe(twice.length);
  expect(await notificationsOf(orderId)).toHaveLength(2);
});

test("a failing channel is tried eight times and given up, and the other one sends", async () => {
  failingSms = () => {
    throw new Error("no signal");
  };
  const orderId = await complete();
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "DEAD", EMAIL: "SENT" });
  expect(await notificationsOf(orderId)).toMatchObject([
    { channel: "SMS", attempts: 8, lastError: "Error: no signal" },
    { channel: "EMAIL", attempts: 1 },
  ]);
  const { body } = await shop.call(`/internal/timeline/${orderId}`);
  const story = TimelinePart.parse(body).entries.map((entry) => entry.what);
  expect(story.toSorted()).toEqual(["EMAIL sent", "SMS given up"]);
  const metrics = await (await fetch(`${shop.url}/metrics`)).text();
  expect(metrics).toMatch(/notification_unsent_notifications\S*DEAD\S* 1/);
});

test("a channel that comes back is not given up", async () => {
  let failures = 0;
  failingSms = () => {
    failures += 1;
    if (failures < 4) throw new Error("no signal");
    return "sent";
  };
  const orderId = await complete();
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "SENT" });
  expect((await notificationsOf(orderId))[0]).toMatchObject({ attempts: 4 });
});

test("a channel that refuses is not asked again", async () => {
  await setFaults({ refuseRate: 1 });
  const orderId = await complete();
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "DEAD" });
  expect((await notificationsOf(orderId))[1]).toMatchObject({
    attempts: 1,
    lastError: "refused by EMAIL",
  });
});

test("faults to order: late, and then not at all", async () => {
  await setFaults({ latencyMs: [100, 200], failureRate: 1 });
  const orderId = await complete();
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "PENDING" });
  await poll(() => statusesOf(orderId)).toEqual({ SMS: "SENT", EMAIL: "DEAD" });
});

test("stopping gives back what was under way, without counting the attempt", async () => {
  await using second = await startUnderTest("notification", (config) =>
    startNotification(config, clock),
  );
  expect((await second.put("/faults", { latencyMs: 60_000 })).status).toBe(200);
  await second.emit(OrderCompleted, endOf("O-slow"));
  const rows = async () =>
    (
      await second.pool.query<Record<string, unknown>>(
        "select status, attempt_count, claimed_until is null as is_free from notifications",
      )
    ).rows;
  const row = { status: "PENDING", attempt_count: 1, is_free: false };
  await poll(rows).toEqual([row, row]);
  await second.stop();
  const free = { status: "PENDING", attempt_count: 0, is_free: true };
  expect(await rows()).toEqual([free, free]);
});

describe("what is refused", () => {
  test.each<[string, unknown]>([
    ["a rate above 1", { failureRate: 1.5 }],
    ["an unknown fault", { outageMs: 1 }],
    ["nothing", null],
  ])("%s", async (_name, faults) => {
    const answer = await shop.put("/faults", faults);
    expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
  });

  test("a question without its order, and a caller that is no service", async () => {
    expect(await shop.call("/internal/notifications")).toMatchObject({ status: 400 });
    const headers = { authorization: `Bearer ${await userToken()}` };
    for (const path of ["/internal/notifications?orderId=O-1", "/internal/timeline/O-1"]) {
      expect(await shop.call(path, { headers })).toMatchObject({ status: 401 });
    }
  });
});
