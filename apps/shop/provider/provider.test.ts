import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase } from "../chassis/testing/test-database.ts";
import type { TestDatabase } from "../chassis/testing/test-database.ts";
import type { ServiceConfig } from "../chassis/config.ts";
import { portOffsets } from "../chassis/config.ts";
import type { RunningService } from "../chassis/config.ts";
import { createServiceTokens } from "../chassis/service-token.ts";
import { testAuth, userToken } from "../chassis/testing/test-server.ts";
import type { ProviderFaults } from "../contracts/http/faults.ts";
import { ledgerSchema, ledgerSummarySchema } from "../contracts/http/provider.ts";
import { startProvider } from "./main.ts";

let database: TestDatabase;
let provider: RunningService;
let nowMs = 0;
let dice: () => number = () => 0;
let slept: number[] = [];
let sleeping: PromiseWithResolvers<void> | undefined;

beforeAll(async () => {
  database = await createTestDatabase("provider");
  provider = await startProvider(configOf(true), {
    now: () => nowMs,
    monotonic: () => nowMs,
    random: () => dice(),
    sleep: async (ms) => {
      slept.push(ms);
      await sleeping?.promise;
    },
  });
});

afterEach(async () => {
  nowMs += 1_000_000;
  dice = () => 0;
  slept = [];
  sleeping?.resolve();
  sleeping = undefined;
  await setFaults({});
});

afterAll(async () => {
  await provider.stop();
  await database[Symbol.asyncDispose]();
});

function configOf(demo: boolean): ServiceConfig {
  const url = "http://127.0.0.1:1";
  const peers = Object.fromEntries(Object.keys(portOffsets).map((name) => [name, url]));
  return {
    name: "provider",
    host: "127.0.0.1",
    port: 0,
    databaseUrl: database.url,
    busUrl: database.url,
    peers: peers as ServiceConfig["peers"],
    auth: testAuth,
    demo,
    rateLimit: false,
    poolMax: 12,
    logLevel: "silent",
  };
}

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly headers: Headers;
}

let keyCount = 0;
const newKey = () => `key-${(keyCount += 1)}`;
const newOrder = () => `O-${(keyCount += 1)}`;

async function call(path: string, init: RequestInit = {}): Promise<Answer> {
  const token = await createServiceTokens(testAuth, "payment").current();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(provider.url + path, {
    ...init,
    headers: { ...headers, ...(init.headers as Record<string, string> | undefined) },
  });
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, body, headers: response.headers };
}

function post(path: string, key: string, body: unknown, compensates?: string): Promise<Answer> {
  return call(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: {
      "idempotency-key": `"${key}"`,
      ...(compensates === undefined ? {} : { compensates: `"${compensates}"` }),
    },
  });
}

const money = (orderId: string, amount = 500) => ({ orderId, amount, currency: "GBP" });
const card = (orderId: string, token = "tok_visa", amount = 500) => ({
  ...money(orderId, amount),
  token,
});

async function setFaults(faults: ProviderFaults): Promise<void> {
  const answer = await call("/faults", { method: "PUT", body: JSON.stringify(faults) });
  expect(answer).toMatchObject({ status: 200, body: faults });
}

async function balanceOf(orderId: string) {
  const { body } = await call("/ledger/summary");
  return ledgerSummarySchema.parse(body).orders.find((order) => order.orderId === orderId);
}

async function movesOf(orderId: string): Promise<readonly string[]> {
  const { body } = await call(`/ledger?orderId=${orderId}`);
  return ledgerSchema.parse(body).entries.map((entry) => `${entry.operation} ${entry.amount}`);
}

test("two-phase: held, taken, given back, and the ledger adds up", async () => {
  const order = newOrder();
  const [authorize, capture] = [newKey(), newKey()];
  expect(await post("/authorize", authorize, card(order))).toMatchObject({
    status: 200,
    body: { outcome: "approved", amount: 500 },
  });
  await post("/capture", capture, { ...money(order), authorizationKey: authorize });
  await post("/refund", newKey(), money(order, 200), capture);
  expect(await movesOf(order)).toEqual(["authorize 500", "capture 500", "refund 200"]);
  expect(await balanceOf(order)).toEqual({
    orderId: order,
    authorized: 500,
    captured: 500,
    charged: 0,
    voided: 0,
    refunded: 200,
    net: 300,
  });
});

test("a repeated key gets the stored answer and moves nothing, another body is refused", async () => {
  const order = newOrder();
  const key = newKey();
  const first = await post("/charge", key, card(order));
  const again = await post("/charge", key, card(order));
  expect(again.body).toEqual(first.body);
  expect(again.headers.get("idempotent-replayed")).toBe("true");
  expect(first.headers.get("idempotent-replayed")).toBeNull();
  const reused = await post("/charge", key, card(order, "tok_visa", 501));
  expect(reused).toMatchObject({ status: 422, body: { code: "IDEMPOTENCY_KEY_REUSED" } });
  const otherKind = await post("/authorize", key, card(order));
  expect(otherKind).toMatchObject({ status: 422, body: { code: "IDEMPOTENCY_KEY_REUSED" } });
  expect(await movesOf(order)).toEqual(["charge 500"]);
});

test("a declined card moves nothing and stays declined", async () => {
  const order = newOrder();
  for (const [token, reason] of [
    ["tok_declined", "PAYMENT_DECLINED"],
    ["tok_insufficient", "INSUFFICIENT_FUNDS"],
  ] as const) {
    const key = newKey();
    const declined = { status: 200, body: { outcome: "declined", reason, amount: 0 } };
    expect(await post("/charge", key, card(order, token))).toMatchObject(declined);
    expect(await post("/charge", key, card(order, token))).toMatchObject(declined);
  }
  expect(await movesOf(order)).toEqual([]);
});

test("concurrent requests with one key have one effect and one answer", async () => {
  const order = newOrder();
  const key = newKey();
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => post("/charge", key, card(order))),
  );
  expect(new Set(answers.map((answer) => answer.body["transactionId"])).size).toBe(1);
  expect(await movesOf(order)).toEqual(["charge 500"]);
});

test("a payment and its compensation at once: whoever is first, nothing is left over", async () => {
  for (let round = 0; round < 12; round += 1) {
    const order = newOrder();
    const key = newKey();
    const [charged] = await Promise.all([
      post("/charge", key, card(order)),
      post("/refund", newKey(), money(order), key),
    ]);
    expect([200, 409]).toContain(charged.status);
    expect((await balanceOf(order))?.net ?? 0).toBe(0);
  }
});

test("partial refunds at once never give back more than was paid", async () => {
  const order = newOrder();
  const key = newKey();
  await post("/charge", key, card(order));
  const refunds = await Promise.all(
    Array.from({ length: 6 }, () => post("/refund", newKey(), money(order, 200), key)),
  );
  expect(refunds.filter((refund) => refund.status === 200)).toHaveLength(2);
  expect(await balanceOf(order)).toMatchObject({ refunded: 400, net: 100 });
});

describe("the outcome of a key", () => {
  const outcomeOf = async (key: string) => (await call(`/operations/${key}`)).body;

  test("is unknown, then known, then compensated", async () => {
    const order = newOrder();
    const key = newKey();
    expect(await outcomeOf(key)).toEqual({ key, state: "unknown" });
    const { body: answer } = await post("/charge", key, card(order));
    expect(await outcomeOf(key)).toEqual({ key, state: "known", operation: "charge", answer });
    await post("/refund", newKey(), money(order), key);
    expect(await outcomeOf(key)).toMatchObject({ state: "compensated", operation: "charge" });
  });

  test("is compensated for a payment that never came, and its late original is refused", async () => {
    const order = newOrder();
    for (const [forward, undo] of [
      ["/authorize", "/void"],
      ["/charge", "/refund"],
    ] as const) {
      const key = newKey();
      const body = undo === "/void" ? { orderId: order } : money(order);
      const compensation = newKey();
      const empty = { status: 200, body: { outcome: "approved", amount: 0 } };
      expect(await post(undo, compensation, body, key)).toMatchObject(empty);
      expect(await post(undo, compensation, body, key)).toMatchObject(empty);
      expect(await outcomeOf(key)).toEqual({ key, state: "compensated" });
      const late = await post(forward, key, card(order));
      expect(late).toMatchObject({ status: 409, body: { code: "STEP_COMPENSATED" } });
    }
    expect(await movesOf(order)).toEqual([]);
  });
});

describe("faults", () => {
  test("a lost answer has had its effect, and the key brings it back", async () => {
    const order = newOrder();
    const key = newKey();
    await setFaults({ answerLostRate: 1 });
    await expect(post("/charge", key, card(order))).rejects.toThrow("fetch failed");
    await setFaults({});
    expect(await movesOf(order)).toEqual(["charge 500"]);
    const again = await post("/charge", key, card(order));
    expect(again.headers.get("idempotent-replayed")).toBe("true");
  });

  test("a failure has had no effect", async () => {
    const order = newOrder();
    await setFaults({ failureRate: 1 });
    expect(await post("/charge", newKey(), card(order))).toMatchObject({
      status: 503,
      body: { code: "NOT_READY" },
    });
    expect(await movesOf(order)).toEqual([]);
  });

  test("an outage lets nothing through until it is over", async () => {
    const order = newOrder();
    await setFaults({ outageMs: 5000 });
    dice = () => 0.1;
    await expect(post("/charge", newKey(), card(order))).rejects.toThrow("fetch failed");
    dice = () => 0.9;
    expect((await post("/charge", newKey(), card(order))).status).toBe(503);
    nowMs += 5000;
    expect((await post("/charge", newKey(), card(order))).status).toBe(200);
    expect(await movesOf(order)).toEqual(["charge 500"]);
  });

  test("latency is fixed or drawn from its range, and the new faults replace the old", async () => {
    await setFaults({ latencyMs: 30, failureRate: 0 });
    await call(`/operations/${newKey()}`);
    await setFaults({ latencyMs: [10, 20] });
    for (const value of [0, 0.999]) {
      dice = () => value;
      await call(`/operations/${newKey()}`);
    }
    await setFaults({});
    await call(`/operations/${newKey()}`);
    expect(slept).toEqual([30, 10, 20]);
  });

  test.each<[string, unknown]>([
    ["a rate above 1", { failureRate: 1.1 }],
    ["a negative rate", { answerLostRate: -0.1 }],
    ["a range upside down", { latencyMs: [20, 10] }],
    ["a range of one", { latencyMs: [10] }],
    ["a fraction of a millisecond", { latencyMs: 0.5 }],
    ["text", { outageMs: "5" }],
    ["an unknown fault", { refuseRate: 1 }],
    ["nothing", null],
  ])("%s is refused", async (_name, faults) => {
    const answer = await call("/faults", { method: "PUT", body: JSON.stringify(faults) });
    expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
  });

  test("tok_timeout has its effect first and answers after a minute", async () => {
    const order = newOrder();
    const key = newKey();
    sleeping = Promise.withResolvers();
    const waiting = post("/charge", key, card(order, "tok_timeout"));
    await expect.poll(() => slept).toEqual([60_000]);
    expect(await movesOf(order)).toEqual(["charge 500"]);
    sleeping.resolve();
    expect(await waiting).toMatchObject({ status: 200, body: { outcome: "approved" } });
  });
});

test("the eleventh request at once is turned away, and the ten are served", async () => {
  sleeping = Promise.withResolvers();
  await setFaults({ latencyMs: 1 });
  const ten = Array.from({ length: 10 }, () => post("/charge", newKey(), card(newOrder())));
  await expect.poll(() => slept.length).toBe(10);
  const eleventh = await post("/charge", newKey(), card(newOrder()));
  expect(eleventh).toMatchObject({ status: 429, body: { code: "RATE_LIMITED" } });
  expect(eleventh.headers.get("retry-after")).toBe("1");
  sleeping.resolve();
  expect((await Promise.all(ten)).map((answer) => answer.status)).toEqual(Array(10).fill(200));
  expect((await post("/charge", newKey(), card(newOrder()))).status).toBe(200);
});

describe("what is refused", () => {
  test.each<[string, unknown]>([
    ["an unknown card", { ...card("O-1"), token: "tok_gold" }],
    ["text for a number", { ...card("O-1"), amount: "500" }],
    ["no money", { ...card("O-1"), amount: 0 }],
    ["more than JSON can say", { ...card("O-1"), amount: 2 ** 53 }],
    ["another currency", { ...card("O-1"), currency: "KRW" }],
    ["an unknown field", { ...card("O-1"), note: "x" }],
  ])("%s", async (_name, body) => {
    const answer = await post("/charge", newKey(), body);
    expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_FAILED" } });
  });

  test("an operation without a key, a void without what it undoes", async () => {
    const noKey = await call("/charge", { method: "POST", body: JSON.stringify(card("O-1")) });
    expect(noKey.body).toMatchObject({ code: "IDEMPOTENCY_KEY_MISSING" });
    const noForward = await post("/void", newKey(), { orderId: "O-1" });
    expect(noForward.body).toMatchObject({
      code: "VALIDATION_FAILED",
      errors: [{ path: "Compensates" }],
    });
  });

  test("a caller that is no service", async () => {
    const headers = { authorization: `Bearer ${await userToken({ roles: ["operator"] })}` };
    const answer = await call("/charge", { method: "POST", body: "{}", headers });
    expect(answer).toMatchObject({ status: 401, body: { code: "UNAUTHENTICATED" } });
  });
});

test("the ledger cannot be changed, even by hand", async () => {
  await post("/charge", newKey(), card(newOrder()));
  for (const statement of ["update ledger_entry set amount = 1", "delete from ledger_entry"]) {
    await expect(database.pool.query(statement)).rejects.toThrow("append-only");
  }
});

test("outside demo mode there is no ledger and no faults", async () => {
  const real = await startProvider(configOf(false));
  for (const path of ["/ledger", "/ledger/summary", "/faults"]) {
    expect((await fetch(real.url + path)).status).toBe(404);
  }
  expect((await fetch(`${real.url}/readyz`)).status).toBe(200);
  await real.stop();
});

test("the summary of 100,000 entries takes well under a second", async () => {
  await database.pool.query(
    `with added as (
       insert into operation (key, kind, fingerprint, order_id, amount_asked, amount_moved, outcome,
         transaction_id)
       select 'load-' || n, 'charge', '', 'load-' || n % 50000, 1, 1, 'approved', 'load-' || n
       from generate_series(1, 100000) as n returning key, order_id
     )
     insert into ledger_entry (order_id, operation, amount, key)
     select order_id, 'charge', 1, key from added`,
  );
  const startedAtMs = performance.now();
  const { body } = await call("/ledger/summary");
  expect(performance.now() - startedAtMs).toBeLessThan(1500);
  const loaded = ledgerSummarySchema.parse(body).orders.filter((order) => order.net === 2);
  expect(loaded).toHaveLength(50_000);
});
