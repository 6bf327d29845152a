/** Payment as a participant, with the real provider: money moves once per step, and is undone in any order. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { RunningService } from "../chassis/config.ts";
import { createStepCaller } from "../chassis/testing/step-caller.ts";
import type { StepCaller } from "../chassis/testing/step-caller.ts";
import { createTestDatabase } from "../chassis/testing/test-database.ts";
import type { TestDatabase } from "../chassis/testing/test-database.ts";
import { userToken } from "../chassis/testing/test-server.ts";
import { OrderCreated } from "../contracts/events.ts";
import type { ProviderFaults } from "../contracts/http/faults.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import {
  authorizePayment,
  capturePayment,
  chargePayment,
  refundCharge,
  refundPayment,
  voidPayment,
} from "../contracts/http/payment-steps.ts";
import type { CardToken } from "../contracts/http/provider.ts";
import { ledgerSchema } from "../contracts/http/provider.ts";
import type { PaymentOptions } from "../payment/start-provider-side.ts";
import type { Asked } from "../payment/worker.ts";
import {
  callAsService,
  configFor,
  eventually,
  newOrder,
  paymentOf,
  preparePayment,
} from "../payment/testing/payment-under-test.ts";
import type { PaymentUnderTest } from "../payment/testing/payment-under-test.ts";
import { startProvider } from "../provider/main.ts";

const quick: PaymentOptions = {
  claimMs: 1_000,
  retry: { baseMs: 20, maxMs: 200 },
};

let database: TestDatabase;
let provider: RunningService;
let shop: PaymentUnderTest;
let instances: AsyncDisposable[] = [];

beforeAll(async () => {
  database = await createTestDatabase("provider");
  provider = await startProvider(configFor("provider", database.url));
  shop = await preparePayment(provider.url);
});

afterEach(async () => {
  await setFaults({});
  for (const instance of instances) await instance[Symbol.asyncDispose]();
  instances = [];
});

afterAll(async () => {
  await shop[Symbol.asyncDispose]();
  await provider.stop();
  await database[Symbol.asyncDispose]();
});

interface Instance {
  readonly service: RunningService;
  readonly caller: StepCaller;
}

async function start(options: PaymentOptions = {}): Promise<Instance> {
  const service = await shop.start({ ...quick, ...options });
  const caller = createStepCaller("payment", service.url);
  instances.push({
    async [Symbol.asyncDispose]() {
      await caller.close();
      await service.stop();
    },
  });
  return { service, caller };
}

async function setFaults(faults: ProviderFaults): Promise<void> {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(faults);
  const answer = await fetch(`${provider.url}/faults`, { method: "PUT", headers, body });
  expect(answer.status).toBe(200);
}

/** What really happened to the money of one order. */
async function movesOf(orderId: string): Promise<readonly string[]> {
  const answer = await fetch(`${provider.url}/ledger?orderId=${orderId}`);
  const { entries } = ledgerSchema.parse(await answer.json());
  return entries.map(({ operation, amount }) => `${operation} ${amount}`);
}

let count = 0;

/** One saga's payment steps at one instance, with the keys that the specification gives them. */
function newSaga({ caller }: Instance, token: CardToken = "tok_visa") {
  const orderId = `O-STEP-${(count += 1)}`;
  const owner = { orderId, sagaId: `SAGA-${orderId}` };
  const pay = { ...owner, userId: "ada", amount: 500, currency: "GBP", token } as const;
  const key = (step: string) => `${owner.sagaId}-payment-${step}`;
  const undo = { ...owner, reason: "OUT_OF_STOCK" } as const;
  const at = (by: StepCaller) => ({
    authorize: () => by.ask(authorizePayment, pay, { key: key("authorize") }),
    charge: () => by.ask(chargePayment, pay, { key: key("charge") }),
    capture: () => by.ask(capturePayment, owner, { key: key("capture") }),
    void: () => by.ask(voidPayment, undo, { key: key("void"), compensates: key("authorize") }),
    refund: () => by.ask(refundCharge, undo, { key: key("refund"), compensates: key("charge") }),
  });
  return { ...owner, ...at(caller), at: (instance: Instance) => at(instance.caller) };
}

function refundPart({ caller }: Instance, orderId: string, amount: number, key: string) {
  const body = { orderId, sagaId: "SAGA-RETURN", returnId: "R-1", amount };
  return caller.ask(refundPayment, body, { key });
}

/** A point that the operation of a step reaches and waits at, once. */
function gate(step: string) {
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const wait = async ({ key }: Asked): Promise<void> => {
    if (key?.endsWith(step) !== true) return;
    reached.resolve();
    await opened.promise;
  };
  return { wait, reached: reached.promise, open: () => opened.resolve() };
}

async function storyOf(instance: Instance, orderId: string): Promise<readonly string[]> {
  const path = `/internal/timeline/${orderId}`;
  const { entries } = TimelinePart.parse(await callAsService(instance.service, path));
  return entries.map((entry) => `${entry.kind}: ${entry.what}`);
}

const ok = { code: "OK" };
const late = { code: "STEP_COMPENSATED", status: 409, isOutcomeUnknown: false };
const unknown = { code: "OUTCOME_UNKNOWN", status: 504, isOutcomeUnknown: true };
/** The step's answer, however often it takes to hear it: on a busy machine a short timeout strikes anybody. */
function known<Answer extends { readonly code: string }>(
  ask: () => Promise<Answer>,
): Promise<Answer> {
  return eventually(async () => {
    const answer = await ask();
    if (answer.code !== unknown.code) return answer;
    expect(answer).toMatchObject(unknown);
    return undefined;
  }, "a known outcome");
}

const undone = { code: "OK", body: { outcome: "undone", amount: 500 } };
const nothing = { code: "OK", body: { outcome: "nothing-to-undo", amount: 0 } };

describe("two-phase", () => {
  test("money is held, then taken, each once however often it is asked for", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    const first = await saga.authorize();
    expect(first).toMatchObject({ code: "OK", body: { status: "AUTHORIZED", amount: 500 } });
    expect(await saga.authorize()).toEqual(first);
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({
      status: "PROCESSING",
      authorized: 500,
      captured: 0,
    });
    const answers = await Promise.all(Array.from({ length: 10 }, () => saga.capture()));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(answers[0]).toMatchObject({ code: "OK", body: { status: "CAPTURED", amount: 500 } });
    expect(await movesOf(saga.orderId)).toEqual(["authorize 500", "capture 500"]);
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({
      status: "COMPLETED",
      amount: 500,
      authorized: 500,
      captured: 500,
      charged: 0,
      refunded: 0,
    });
    expect(await saga.void()).toMatchObject({ code: "VERSION_CONFLICT", status: 409 });
    expect(await storyOf(payment, saga.orderId)).toEqual([
      "step: authorize asked for",
      "step: authorize APPROVED",
      "step: capture asked for",
      "step: capture APPROVED",
    ]);
  });

  test("what is not held cannot be taken, for good", async () => {
    const saga = newSaga(await start());
    const refused = { code: "VERSION_CONFLICT", status: 409, isOutcomeUnknown: false };
    expect(await saga.capture()).toMatchObject(refused);
    await saga.authorize();
    expect(await saga.capture()).toMatchObject(refused);
    expect(await movesOf(saga.orderId)).toEqual(["authorize 500"]);
  });
});

describe.each([
  ["authorize", "void"],
  ["charge", "refund"],
] as const)("%s", (forward, undo) => {
  test.each([
    ["tok_declined", "PAYMENT_DECLINED"],
    ["tok_insufficient", "INSUFFICIENT_FUNDS"],
  ] as const)("with %s is refused for good", async (token, code) => {
    const payment = await start();
    const saga = newSaga(payment, token);
    const refused = { code, status: 422, isOutcomeUnknown: false };
    expect(await saga[forward]()).toMatchObject(refused);
    expect(await saga[forward]()).toMatchObject(refused);
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({ status: "FAILED" });
    expect(await saga[undo]()).toEqual(nothing);
    expect(await movesOf(saga.orderId)).toEqual([]);
  });

  test("is undone after it was done, once, and refused from then on", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    expect(await saga[forward]()).toMatchObject(ok);
    const answers = await Promise.all(Array.from({ length: 8 }, () => saga[undo]()));
    for (const answer of answers) expect(answer).toEqual(undone);
    expect(await saga[forward]()).toMatchObject(late);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`, `${undo} 500`]);
    const status = forward === "authorize" ? "FAILED" : "REFUNDED";
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({ status });
    const story = await storyOf(payment, saga.orderId);
    expect(story.at(-1)).toBe(`compensation: ${undo} APPROVED`);
  });

  test("is refused when it comes after it was undone", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    expect(await saga[undo]()).toEqual(nothing);
    expect(await saga[forward]()).toMatchObject(late);
    expect(await saga[undo]()).toEqual(nothing);
    expect(await movesOf(saga.orderId)).toEqual([]);
    expect(await paymentOf(payment.service, saga.orderId)).toBeUndefined();
  });

  test("that has not reached the provider is refused there once it is undone", async () => {
    const { wait, reached, open } = gate(forward);
    const payment = await start({ faults: { beforeProvider: wait } });
    const saga = newSaga(payment);
    const asked = saga[forward]();
    await reached;
    expect(await saga[undo]()).toEqual(nothing);
    open();
    expect(await asked).toMatchObject(late);
    expect(await movesOf(saga.orderId)).toEqual([]);
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({ status: "FAILED" });
  });

  test("that the provider has done, and nobody knows yet, is undone before anyone is told so", async () => {
    const { wait, reached, open } = gate(forward);
    const payment = await start({ faults: { afterProvider: wait } });
    const saga = newSaga(payment);
    const asked = saga[forward]();
    await reached;
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`]);
    expect(await saga[undo]()).toEqual(undone);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`, `${undo} 500`]);
    open();
    expect(await asked).toMatchObject(late);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`, `${undo} 500`]);
  });

  test("with a card that answers late is of unknown outcome, then known by its key", async () => {
    const payment = await start({ providerTimeoutMs: 300 });
    const saga = newSaga(payment, "tok_timeout");
    expect(await saga[forward]()).toMatchObject(unknown);
    expect(await known(saga[forward])).toMatchObject(ok);
    const other = newSaga(payment, "tok_timeout");
    expect(await other[forward]()).toMatchObject(unknown);
    expect(await known(other[undo])).toEqual(undone);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`]);
  });

  test("whose answers are lost is one movement, and the service learns of it by itself", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    await setFaults({ answerLostRate: 1 });
    expect(await saga[forward]()).toMatchObject(unknown);
    expect(await saga[forward]()).toMatchObject(unknown);
    await setFaults({});
    await eventually(
      async () =>
        (await storyOf(payment, saga.orderId)).includes(`step: ${forward} APPROVED`) || undefined,
      "the outcome",
    );
    expect(await saga[forward]()).toMatchObject(ok);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`]);
  });

  test("is undone after an outage without anyone asking again, and says so only then", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    await saga[forward]();
    await setFaults({ outageMs: 60_000 });
    expect(await saga[undo]()).toMatchObject(unknown);
    await setFaults({});
    await eventually(
      async () => (await movesOf(saga.orderId)).includes(`${undo} 500`) || undefined,
      "the compensation",
    );
    expect(await saga[undo]()).toEqual(undone);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`, `${undo} 500`]);
  });

  test("that dies between answer and record is found again by another instance", async () => {
    const dying = await start({
      faults: { afterProvider: () => Promise.reject(new Error("the process died here")) },
      claimMs: 60_000,
    });
    const saga = newSaga(dying);
    expect(await saga[forward]()).toMatchObject({ status: 500, isOutcomeUnknown: true });
    expect(await saga.at(await start())[forward]()).toMatchObject(ok);
    expect(await movesOf(saga.orderId)).toEqual([`${forward} 500`]);
  });

  test("and its compensation at once, in bad weather, at two instances: no money is kept", async () => {
    const [one, other] = [await start(), await start()];
    await setFaults({ failureRate: 0.2, answerLostRate: 0.2, latencyMs: [0, 20] });
    const sagas = Array.from({ length: 16 }, () => newSaga(one));
    const repeat = async (ask: () => Promise<{ readonly code: string }>) => {
      for (;;) {
        const { code } = await ask();
        if (code === "OK" || code === "STEP_COMPENSATED") return code;
      }
    };
    await Promise.all(
      sagas.map(async (saga) => {
        const [, told] = await Promise.all([repeat(saga[forward]), repeat(saga.at(other)[undo])]);
        expect(told).toBe("OK");
      }),
    );
    for (const { orderId, [forward]: again } of sagas) {
      expect(await again()).toMatchObject(late);
      const moves = await movesOf(orderId);
      expect([[], [`${forward} 500`, `${undo} 500`]]).toContainEqual(moves);
    }
  });
});

describe("a refund", () => {
  test("gives back parts of what was captured, each once, and never more than was paid", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    const early = await refundPart(payment, saga.orderId, 1, "early");
    expect(early).toMatchObject({ code: "NO_MATCHING_PURCHASE", status: 422 });
    await saga.authorize();
    const held = await refundPart(payment, saga.orderId, 1, "held");
    expect(held).toMatchObject({ code: "NO_MATCHING_PURCHASE" });
    await saga.capture();
    const part = () => refundPart(payment, saga.orderId, 200, `${saga.sagaId}-part`);
    expect(await part()).toMatchObject({ code: "OK", body: { status: "REFUNDED", amount: 200 } });
    expect(await part()).toEqual(await part());
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({
      status: "COMPLETED",
      captured: 500,
      refunded: 200,
    });
    const rivals = Array.from({ length: 5 }, (_, at) =>
      refundPart(payment, saga.orderId, 100, `${saga.sagaId}-rival-${at}`),
    );
    const codes = (await Promise.all(rivals)).map((answer) => answer.code);
    expect(codes.filter((code) => code === "OK")).toHaveLength(3);
    expect(codes.filter((code) => code === "AMOUNT_TOO_LARGE")).toHaveLength(2);
    expect(await paymentOf(payment.service, saga.orderId)).toMatchObject({
      status: "REFUNDED",
      refunded: 500,
    });
    expect((await movesOf(saga.orderId)).filter((move) => move === "refund 100")).toHaveLength(3);
  });

  test("of a charged, or of a choreographed order works alike", async () => {
    const payment = await start();
    const saga = newSaga(payment);
    await saga.charge();
    const order = newOrder();
    await shop.emit(OrderCreated, order);
    await shop.hears("payment.completed", order.orderId);
    for (const orderId of [saga.orderId, order.orderId]) {
      expect(await refundPart(payment, orderId, 100, `${orderId}-part`)).toMatchObject(ok);
      expect(await refundPart(payment, orderId, 400, `${orderId}-rest`)).toMatchObject(ok);
      expect(await movesOf(orderId)).toEqual(["charge 500", "refund 100", "refund 400"]);
      expect(await paymentOf(payment.service, orderId)).toMatchObject({
        status: "REFUNDED",
        charged: 500,
        refunded: 500,
      });
    }
  });
});

describe("without a permit", () => {
  test("a step is not begun, and a compensation is done as soon as there is one", async () => {
    const { wait, reached, open } = gate("-authorize");
    const payment = await start({
      permitsMax: 1,
      permitsWaitingMax: 0,
      faults: {
        beforeProvider: (asked) => (asked.orderId === blocking.orderId ? wait(asked) : wave()),
      },
    });
    const wave = () => Promise.resolve();
    const [done, late503, blocking] = [newSaga(payment), newSaga(payment), newSaga(payment)];
    await done.charge();
    const blocked = blocking.authorize();
    await reached;
    const throttled = { code: "PROVIDER_THROTTLED", status: 503, retryAfterMs: 1_000 };
    expect(await late503.authorize()).toMatchObject({ ...throttled, isOutcomeUnknown: false });
    expect(await paymentOf(payment.service, late503.orderId)).toBeUndefined();
    expect(await done.refund()).toMatchObject(throttled);
    open();
    expect(await blocked).toMatchObject(ok);
    await eventually(
      async () => (await movesOf(done.orderId)).includes("refund 500") || undefined,
      "the refund",
    );
    expect(await done.refund()).toEqual(undone);
  });

  test("nobody exceeds the ten that the provider takes, of both checkouts together", async () => {
    const payment = await start({ providerTimeoutMs: 5_000, permitWaitMs: 10_000 });
    await setFaults({ latencyMs: 30 });
    const orders = Array.from({ length: 20 }, () => newOrder());
    await shop.emit(OrderCreated, ...orders);
    const sagas = Array.from({ length: 40 }, () => newSaga(payment));
    for (const answer of await Promise.all(sagas.map((saga) => saga.authorize()))) {
      expect(answer).toMatchObject(ok);
    }
    for (const { orderId } of orders) await shop.hears("payment.completed", orderId);
  });
});

test("a card is forgotten as soon as it is not asked any more", async () => {
  const payment = await start();
  const [paid, declined] = [newSaga(payment), newSaga(payment, "tok_declined")];
  await paid.charge();
  await declined.authorize();
  const { rows } = await shop.pool.query<{ cards: number }>(
    `select count(*)::int as cards from payment_operation
     where card_token is not null and order_id = any($1)`,
    [[paid.orderId, declined.orderId]],
  );
  expect(rows).toEqual([{ cards: 0 }]);
});

test("a caller without a service's token is refused", async () => {
  const { service } = await start();
  const headers = {
    authorization: `Bearer ${await userToken({ roles: ["operator"] })}`,
    "content-type": "application/json",
  };
  for (const { path } of [authorizePayment, voidPayment, capturePayment, refundPayment]) {
    const answer = await fetch(service.url + path, { method: "POST", headers, body: "{}" });
    expect(answer.status).toBe(401);
  }
});
