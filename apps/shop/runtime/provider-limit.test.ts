/** Ten at the provider and never eleven, of however many payment processes: the line in front serves in turn, sheds what is too much, and everybody ends. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { RunningService } from "../chassis/config.ts";
import { createStepCaller } from "../chassis/testing/step-caller.ts";
import type { StepCaller } from "../chassis/testing/step-caller.ts";
import { createTestDatabase } from "../chassis/testing/test-database.ts";
import type { TestDatabase } from "../chassis/testing/test-database.ts";
import { authorizePayment, voidPayment } from "../contracts/http/payment-steps.ts";
import { admissionCountsSchema, ledgerSummarySchema } from "../contracts/http/provider.ts";
import { configFor, eventually, preparePayment } from "../payment/testing/payment-under-test.ts";
import type { PaymentUnderTest } from "../payment/testing/payment-under-test.ts";
import { startProvider } from "../provider/main.ts";

/** The long form: DURE_LOAD_CHECKOUTS=300. */
const checkouts = Number(process.env["DURE_LOAD_CHECKOUTS"] ?? 120);
/** So that about a third of them is shed, as of 300 with a line of 200. */
const lineMax = Math.round((checkouts * 2) / 3);
const latencyMs = 20;
const slowMs = 3_000;

let database: TestDatabase;
let provider: RunningService;
let shop: PaymentUnderTest;
const callers: StepCaller[] = [];

beforeAll(async () => {
  database = await createTestDatabase("provider");
  provider = await startProvider(configFor("provider", database.url));
  shop = await preparePayment(provider.url);
  for (let n = 0; n < 2; n += 1) {
    const service = await shop.start({ permitsWaitingMax: lineMax, permitWaitMs: 14_000 });
    // One lets 64 calls through at once.
    for (let many = 0; many < checkouts; many += 100) {
      callers.push(createStepCaller("payment", service.url));
    }
  }
});

beforeEach(() => setFaults({ latencyMs: slowMs }));

afterAll(async () => {
  for (const caller of callers) await caller.close();
  await shop[Symbol.asyncDispose]();
  await provider.stop();
  await database[Symbol.asyncDispose]();
});

async function setFaults(faults: object): Promise<void> {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(faults);
  await fetch(`${provider.url}/faults`, { method: "PUT", headers, body });
}

async function admission() {
  const answer = await fetch(`${provider.url}/admission`);
  return admissionCountsSchema.parse(await answer.json());
}

/** A checkout's calls, at one of the two instances. */
function checkout(n: number) {
  const orderId = `O-LOAD-${n}`;
  const owner = { orderId, sagaId: `SAGA-${orderId}` };
  const pay = { ...owner, userId: "ada", amount: 500, currency: "GBP", token: "tok_visa" } as const;
  const key = (step: string): string => `${owner.sagaId}-payment-${step}`;
  const caller = callers[n % callers.length];
  if (caller === undefined) throw new Error("no instance");
  const undo = { ...owner, reason: "OUT_OF_STOCK" } as const;
  return {
    orderId,
    authorize: () => caller.ask(authorizePayment, pay, { key: key("authorize") }),
    void: () => caller.ask(voidPayment, undo, { key: key("void"), compensates: key("authorize") }),
  };
}

/** The provider is slow until the line is full, however fast this machine sends and answers. */
async function allAtOnce<Value>(asked: readonly Promise<Value>[]): Promise<readonly Value[]> {
  await eventually(async () => {
    const { rows } = await shop.pool.query<{ waiting: number }>(
      "select count(*)::int as waiting from dure.semaphore_place where granted_at is null",
    );
    return (rows[0]?.waiting ?? 0) >= lineMax || undefined;
  }, "a full line");
  // Those that come now are shed; the line moves when they have been.
  await setFaults({ latencyMs });
  return Promise.all(asked);
}

describe(`${checkouts} checkouts at once over two payment instances`, () => {
  test("ten are at the provider, what is too much gets 503 and Retry-After, and all others end", async () => {
    const sagas = Array.from({ length: checkouts }, (_, n) => checkout(n));
    const answers = await allAtOnce(
      sagas.map(async (saga) => ({ saga, answer: await saga.authorize() })),
    );
    const done = answers.filter(({ answer }) => answer.code === "OK");
    const shed = answers.filter(({ answer }) => answer.code !== "OK");
    expect(done.length).toBeGreaterThanOrEqual(lineMax);
    expect(shed.length).toBeGreaterThan(0);
    const throttled = { code: "PROVIDER_THROTTLED", status: 503, retryAfterMs: 1_000 };
    for (const { answer } of shed) {
      // Nothing was begun: the same checkout may be sent again, or given up.
      expect(answer).toMatchObject({ ...throttled, isOutcomeUnknown: false });
    }
    // Those that come again, now that there is room, end as well.
    for (const { saga } of shed) expect(await saga.authorize()).toMatchObject({ code: "OK" });
    const counts = await admission();
    expect(counts).toMatchObject({ admitted: checkouts, refused: 0 });
    expect(counts.runningMax).toBeLessThanOrEqual(10);
    expect(counts.runningMax).toBeGreaterThan(1);
  }, 120_000);

  test("a compensation without a permit is done all the same", async () => {
    const sagas = Array.from({ length: checkouts }, (_, n) => checkout(n));
    const answers = await allAtOnce(sagas.map((saga) => saga.void()));
    const shed = answers.filter(({ code }) => code === "PROVIDER_THROTTLED").length;
    expect(shed).toBeGreaterThan(0);
    // Nobody asks again: the service does.
    const orders = await eventually(async () => {
      const answer = await fetch(`${provider.url}/ledger/summary`);
      const { orders: all } = ledgerSummarySchema.parse(await answer.json());
      return all.every(({ voided }) => voided === 500) ? all : undefined;
    }, "all money to be let go");
    expect(orders).toHaveLength(checkouts);
    const counts = await admission();
    expect(counts.refused).toBe(0);
    expect(counts.runningMax).toBeLessThanOrEqual(10);
  }, 120_000);
});
