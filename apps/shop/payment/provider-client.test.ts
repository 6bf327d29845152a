/** What payment asks of the provider, and what it believes of the answers. */
import { fastify } from "fastify";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ClaimedPayment } from "./claimed-payment.ts";
import { createProviderClient } from "./provider-client.ts";
import type { ProviderClient } from "./provider-client.ts";
import { configFor } from "./testing/payment-under-test.ts";

const charging: ClaimedPayment = {
  id: "P-1",
  orderId: "O-1",
  sagaId: "SAGA-1",
  userId: "ada",
  amount: 500,
  currency: "GBP",
  items: [],
  status: "PROCESSING",
  pending: "charge",
  chargeKey: "SAGA-1-payment-charge",
  refundKey: "SAGA-1-payment-refund",
  cardToken: "tok_visa",
  reason: undefined,
  cause: { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
  attempts: 1,
  claimToken: "C-1",
  ageMs: 0,
};
const { cardToken: _card, ...withoutCard } = charging;

let app: FastifyInstance;
let client: ProviderClient;
let asked: FastifyRequest[] = [];
let answer: { status: number; body: unknown } = { status: 200, body: {} };

beforeAll(async () => {
  app = fastify();
  app.post("/*", (request, reply) => {
    asked = [...asked, request];
    if (answer.status === 0) {
      reply.hijack();
      reply.raw.destroy();
      return;
    }
    if (answer.status === -1) return reply.hijack();
    return reply.code(answer.status).send(answer.body);
  });
  const providerUrl = await app.listen({ host: "127.0.0.1", port: 0 });
  const config = configFor("payment", "", { providerUrl });
  client = createProviderClient({ config, timeoutMs: 2_000, connectionsMax: 8 });
});

afterAll(async () => {
  await client.close();
  await app.close();
});

const { signal } = new AbortController();

async function perform(payment: ClaimedPayment, status: number, body: unknown) {
  asked = [];
  answer = { status, body };
  const outcome = await client.perform(payment, signal);
  return { outcome, request: asked[0], count: asked.length };
}

const approved = { outcome: "approved", transactionId: "TX-1", amount: 500 };

test("a charge goes out with the card, its key, and the trace of what caused it", async () => {
  const { outcome, request } = await perform(charging, 200, approved);
  expect(outcome).toEqual({ kind: "approved", transactionId: "TX-1", amount: 500 });
  expect(request?.url).toBe("/charge");
  expect(request?.body).toEqual({
    orderId: "O-1",
    amount: 500,
    currency: "GBP",
    token: "tok_visa",
  });
  expect(request?.headers).toMatchObject({ "idempotency-key": '"SAGA-1-payment-charge"' });
  expect(request?.headers["compensates"]).toBeUndefined();
  expect(request?.headers["traceparent"]).toContain("0af7651916cd43dd8448eb211c80319c");
});

test.each(["cancel", "refund"] as const)(
  "a %s names the charge that it undoes, and no card",
  async (pending) => {
    const payment: ClaimedPayment = { ...withoutCard, cardToken: undefined, pending };
    const { request } = await perform(payment, 200, approved);
    expect(request?.url).toBe("/refund");
    expect(request?.body).toEqual({ orderId: "O-1", amount: 500, currency: "GBP" });
    expect(request?.headers).toMatchObject({
      "idempotency-key": '"SAGA-1-payment-refund"',
      compensates: '"SAGA-1-payment-charge"',
    });
  },
);

describe("an answer", () => {
  const problem = (code: string) => ({ code, detail: "…" });

  test("that declines is final and says why", async () => {
    const declined = {
      outcome: "declined",
      reason: "INSUFFICIENT_FUNDS",
      transactionId: "TX-1",
      amount: 0,
    };
    const { outcome } = await perform(charging, 200, declined);
    expect(outcome).toMatchObject({ kind: "declined", reason: "INSUFFICIENT_FUNDS" });
  });

  test.each([
    [409, "STEP_COMPENSATED", "compensated"],
    [400, "VALIDATION_FAILED", "rejected"],
  ])("%i %s is final", async (status, code, kind) => {
    expect((await perform(charging, status, problem(code))).outcome).toMatchObject({ kind });
  });

  test.each([
    [429, problem("RATE_LIMITED"), "RATE_LIMITED"],
    [401, problem("UNAUTHENTICATED"), "UNAUTHENTICATED"],
    [503, problem("NOT_READY"), "NOT_READY"],
    [500, problem("INTERNAL"), "INTERNAL"],
    [502, "<html>", "HTTP_502"],
    [422, problem("IDEMPOTENCY_KEY_REUSED"), "IDEMPOTENCY_KEY_REUSED"],
    [200, { outcome: "maybe" }, "UNREADABLE"],
    [0, undefined, "DISCONNECTED"],
    [-1, undefined, "TIMED_OUT"],
  ])("%i %j settles nothing, and is asked for once", async (status, body, code) => {
    const { outcome, count } = await perform(charging, status, body);
    expect(outcome).toEqual({ kind: "unknown", code });
    expect(count).toBe(1);
  });
});
