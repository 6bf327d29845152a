/** Whatever is sent to the public API is refused with a reason, never with a 500, and changes nothing. */
import { systemClock } from "dure";
import { SignJWT } from "jose";
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { demoTokenSchema } from "../contracts/http/demo-token.ts";
import { startEmbeddedShop } from "./embedded-shop.ts";
import type { RunningShop } from "./embedded-shop.ts";
import { findFreeBasePort } from "./ports.ts";
import { shopAt } from "./testing/shop-under-test.ts";
import type { ShopUnderTest } from "./testing/shop-under-test.ts";

let data: string;
let running: RunningShop;
let shop: ShopUnderTest;
let product: string;
let orderOfAda: string;
let adasToken: string;
let bobsToken: string;
let orderCount: number;
let stock: unknown;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "dure-bad-input-"));
  const basePort = await findFreeBasePort();
  const rest = { host: "127.0.0.1", fresh: false, rateLimit: false, logLevel: "silent" };
  running = await startEmbeddedShop({ basePort, data, ...rest });
  shop = shopAt(running.url);
  product = await shop.putProduct(1_000_000);
  orderOfAda = await shop.order(product);
  await shop.orderWith(orderOfAda, "COMPLETED");
  await shop.stockIs(product, { sold: 2 });
  adasToken = await tokenOf("ada");
  bobsToken = await tokenOf("bob");
  orderCount = await shop.orderCount();
  stock = (await send({ path: `/products/${product}` })).body;
}, 120_000);

afterAll(async () => {
  expect(await shop.orderCount()).toBe(orderCount);
  expect((await send({ path: `/products/${product}` })).body).toEqual(stock);
  expect(await shop.reconcile()).toMatchObject({ ok: true, inFlight: 0 });
  await running.stop();
  await rm(data, { recursive: true, force: true });
}, 60_000);

interface Sent {
  readonly method?: string;
  readonly path?: string;
  /** Undefined is Ada's; an empty one sends none. */
  readonly token?: string;
  readonly key?: string | undefined;
  /** Sent as it is, if it is text. */
  readonly body?: unknown;
  readonly type?: string;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: Record<string, unknown>;
}

/** Unlike `fetch` it hears an answer that comes before the body is sent. */
async function send(sent: Sent): Promise<Answer> {
  const { method = "GET", path = "/orders", token = adasToken, key, body, type } = sent;
  const payload = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const outgoing = request(`${running.url}${path}`, {
    method,
    agent: false,
    headers: {
      ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
      ...(key === undefined ? {} : { "idempotency-key": key }),
      ...(payload === undefined
        ? {}
        : {
            "content-type": type ?? "application/json",
            "content-length": Buffer.byteLength(payload),
          }),
    },
  });
  outgoing.on("error", reject);
  outgoing.on("response", (response) => {
    const parts: Buffer[] = [];
    response.on("data", (part: Buffer) => parts.push(part));
    response.on("end", () => {
      const text = Buffer.concat(parts).toString();
      const body = text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
      const { statusCode = 0, headers } = response;
      resolve({ status: statusCode, type: headers["content-type"] ?? "", body });
    });
    response.on("error", reject);
  });
  outgoing.end(payload);
  return promise;
}

async function tokenOf(userId: string): Promise<string> {
  const body = { userId };
  const call = { url: running.url, path: "/demo/token", method: "POST", body } as const;
  return (await shop.client.ask(call, demoTokenSchema)).token;
}

async function expectProblem(answer: Answer, status: number, code: string): Promise<void> {
  const { body, type } = answer;
  expect([answer.status, body["code"]], JSON.stringify(body)).toEqual([status, code]);
  expect(type).toMatch(/^application\/problem\+json/);
  expect(body).toMatchObject({ status, code });
  expect(body["traceId"]).toMatch(/^[0-9a-f]{32}$/);
  expect(JSON.stringify(body)).not.toMatch(/select |insert |\.ts:\d|node_modules|postgres:\/\//);
}

const line = (): Record<string, unknown> => ({ productId: product, quantity: 1, unitPrice: 100 });
const order = (extras: Record<string, unknown> = {}): Record<string, unknown> => ({
  items: [line()],
  currency: "GBP",
  mode: "choreography",
  ...extras,
});
const ordersWith = (...changes: Record<string, unknown>[]): Record<string, unknown> =>
  order({ items: changes.map((change) => ({ ...line(), ...change })) });

describe("bodies of POST /orders", () => {
  test.each<[string, () => unknown]>([
    ["quantity as text", () => ordersWith({ quantity: "3" })],
    ["quantity that is no integer", () => ordersWith({ quantity: 1.5 })],
    ["quantity 0", () => ordersWith({ quantity: 0 })],
    ["negative quantity", () => ordersWith({ quantity: -1 })],
    ["huge quantity", () => ordersWith({ quantity: 1e308 })],
    ["quantity just too large", () => ordersWith({ quantity: 1_000_001 })],
    ["quantity null", () => ordersWith({ quantity: null })],
    ["quantity true", () => ordersWith({ quantity: true })],
    ["price as text", () => ordersWith({ unitPrice: "100" })],
    ["price 0", () => ordersWith({ unitPrice: 0 })],
    ["negative price", () => ordersWith({ unitPrice: -100 })],
    ["price just too large", () => ordersWith({ unitPrice: 1_000_000_001 })],
    ["price beyond the safe integers", () => ordersWith({ unitPrice: 2 ** 53 })],
    ["product id that is a number", () => ordersWith({ productId: 7 })],
    ["empty product id", () => ordersWith({ productId: "" })],
    ["very long product id", () => ordersWith({ productId: "x".repeat(65) })],
    ["NUL in the product id", () => ordersWith({ productId: "a\u0000b" })],
    ["half a surrogate pair in the product id", () => ordersWith({ productId: "a\ud800" })],
    ["unknown field in a line", () => ordersWith({ discount: 5 })],
    ["line that is a list", () => order({ items: [[]] })],
    ["line that is null", () => order({ items: [null] })],
    ["no lines", () => order({ items: [] })],
    ["lines that are an object", () => order({ items: {} })],
    ["1,001 lines", () => order({ items: Array.from({ length: 1001 }, line) })],
    ["no items", () => ({ currency: "GBP" })],
    ["no currency", () => ({ items: [line()] })],
    ["another currency", () => order({ currency: "USD" })],
    ["currency in small letters", () => order({ currency: "gbp" })],
    ["an amount of its own", () => order({ amount: 1 })],
    ["a user of its own", () => order({ userId: "bob" })],
    ["unknown mode", () => order({ mode: "magic" })],
    ["unknown card", () => order({ payment: { method: "CARD", token: "tok_gold" } })],
    ["payment without a card", () => order({ payment: { method: "CARD" } })],
    ["payment in cash", () => order({ payment: { method: "CASH", token: "tok_visa" } })],
    ["a list", () => []],
    ["null", () => null],
    ["a number", () => 42],
    ["nothing", () => undefined],
  ])("%s is refused", async (_, body) => {
    const sent = { method: "POST", key: randomUUID(), body: body() };
    await expectProblem(await send(sent), 400, "VALIDATION_FAILED");
  });

  test("the problem says where it is and what is wrong there", async () => {
    const body = { ...ordersWith({ quantity: "3" }, { unitPrice: -1 }), extra: 1 };
    const answer = await send({ method: "POST", key: "bad-where", body });
    const errors = answer.body["errors"] as { path: string; message: string }[];
    expect(errors.map(({ path }) => path).sort()).toEqual([
      "extra",
      "items.0.quantity",
      "items.1.unitPrice",
    ]);
    expect(errors.every(({ message }) => message.length > 0)).toBe(true);
  });

  test.each<[string, () => Sent, number, string]>([
    ["broken JSON", () => ({ body: '{"items": [' }), 400, "MALFORMED_JSON"],
    // Refused before it becomes an object: no code behind could tell it from the real thing.
    ["a __proto__", () => ({ body: '{"items":[{"__proto__":{"a":1}}]}' }), 400, "MALFORMED_JSON"],
    ["JSON with a comma too many", () => ({ body: '{"items":[],}' }), 400, "MALFORMED_JSON"],
    ["text", () => ({ body: "hello", type: "text/plain" }), 415, "UNSUPPORTED_MEDIA_TYPE"],
    [
      "a form",
      () => ({ body: "a=b", type: "application/x-www-form-urlencoded" }),
      415,
      "UNSUPPORTED_MEDIA_TYPE",
    ],
    ["10 MB", () => ({ body: order({ note: "x".repeat(10_000_000) }) }), 413, "PAYLOAD_TOO_LARGE"],
    ["10 MB of brackets", () => ({ body: "[".repeat(10_000_000) }), 413, "PAYLOAD_TOO_LARGE"],
    ["1 MB of brackets", () => ({ body: "[".repeat(1_000_000) }), 400, "MALFORMED_JSON"],
    ["no key", () => ({ key: undefined, body: order() }), 400, "IDEMPOTENCY_KEY_MISSING"],
    ["an empty key", () => ({ key: "", body: order() }), 400, "IDEMPOTENCY_KEY_INVALID"],
    [
      "a very long key",
      () => ({ key: "k".repeat(256), body: order() }),
      400,
      "IDEMPOTENCY_KEY_INVALID",
    ],
    [
      "an amount beyond the safe integers",
      () => ({
        body: ordersWith(
          ...Array.from({ length: 10 }, () => ({ quantity: 1_000_000, unitPrice: 1_000_000_000 })),
        ),
      }),
      422,
      "AMOUNT_TOO_LARGE",
    ],
    [
      "a choreographed order in two phases",
      () => ({
        body: order({ payment: { method: "CARD", token: "tok_visa", flow: "two-phase" } }),
      }),
      422,
      "PAYMENT_FLOW_NOT_SUPPORTED",
    ],
  ])("%s: the right code", async (_, sent, status, code) => {
    const answer = await send({ method: "POST", key: randomUUID(), ...sent() });
    await expectProblem(answer, status, code);
  });
});

describe("the rest of the public API", () => {
  test.each<[string, () => Sent, number, string]>([
    ["unknown path", () => ({ path: "/nothing" }), 404, "NOT_FOUND"],
    ["path that climbs", () => ({ path: "/../../etc/passwd" }), 404, "NOT_FOUND"],
    ["broken escape in the path", () => ({ path: "/orders/%zz" }), 400, "VALIDATION_FAILED"],
    ["NUL in the path", () => ({ path: "/orders/a%00b" }), 400, "VALIDATION_FAILED"],
    [
      "very long order id",
      () => ({ path: `/orders/${"x".repeat(5000)}` }),
      400,
      "VALIDATION_FAILED",
    ],
    ["order that is not there", () => ({ path: "/orders/ORD-0" }), 404, "NOT_FOUND"],
    [
      "somebody else's order",
      () => ({ path: `/orders/${orderOfAda}`, token: bobsToken }),
      404,
      "NOT_FOUND",
    ],
    [
      "somebody else's timeline",
      () => ({ path: `/orders/${orderOfAda}/timeline`, token: bobsToken }),
      404,
      "NOT_FOUND",
    ],
    [
      "DELETE of an order",
      () => ({ path: `/orders/${orderOfAda}`, method: "DELETE" }),
      405,
      "METHOD_NOT_ALLOWED",
    ],
    ["PATCH of the orders", () => ({ method: "PATCH", body: {} }), 405, "METHOD_NOT_ALLOWED"],
    ["limit 0", () => ({ path: "/orders?limit=0" }), 400, "VALIDATION_FAILED"],
    ["limit 1001", () => ({ path: "/orders?limit=1001" }), 400, "VALIDATION_FAILED"],
    ["limit that is no number", () => ({ path: "/orders?limit=ten" }), 400, "VALIDATION_FAILED"],
    ["limit twice", () => ({ path: "/orders?limit=1&limit=2" }), 400, "VALIDATION_FAILED"],
    ["unknown status", () => ({ path: "/orders?status=LOST" }), 400, "VALIDATION_FAILED"],
    ["unknown filter", () => ({ path: "/orders?colour=red" }), 400, "VALIDATION_FAILED"],
    ["cursor that nobody gave", () => ({ path: "/orders?cursor=abc" }), 400, "VALIDATION_FAILED"],
    ["SQL as a cursor", () => ({ path: "/orders?cursor=';drop" }), 400, "VALIDATION_FAILED"],
    [
      "customer who sets stock",
      () => ({ method: "PUT", path: `/products/${product}`, body: { name: "x", available: 1 } }),
      403,
      "FORBIDDEN",
    ],
    ["customer who reconciles", () => ({ path: "/reconciliation" }), 403, "FORBIDDEN"],
    ["product that is not there", () => ({ path: "/products/nothing" }), 404, "NOT_FOUND"],
    [
      "token of a role that nobody may ask for",
      () => ({ method: "POST", path: "/demo/token", body: { userId: "x", roles: ["service"] } }),
      400,
      "VALIDATION_FAILED",
    ],
  ])("%s: the right code", async (_, sent, status, code) => {
    await expectProblem(await send(sent()), status, code);
  });

  test("somebody else's orders are in nobody's list", async () => {
    const { body } = await send({ token: bobsToken });
    expect(body["orders"]).toEqual([]);
    const asked = await send({ token: bobsToken, path: "/orders?userId=ada" });
    expect(asked.body["orders"] ?? []).toEqual([]);
  });
});

describe("tokens", () => {
  const sign = async (options: {
    secret?: string;
    issuer?: string;
    seconds?: number;
    roles?: string[];
  }) => {
    const own = (await readFile(join(data, "secret"), "utf8")).trim();
    const key = new TextEncoder().encode(options.secret ?? own);
    return new SignJWT({ roles: options.roles ?? ["customer"] })
      .setProtectedHeader({ alg: "HS256" })
      .setIssuer(options.issuer ?? "dure-shop")
      .setSubject("ada")
      .setExpirationTime(Math.floor(systemClock.now() / 1000) + (options.seconds ?? 60))
      .sign(key);
  };
  const unsigned = (): string => {
    const part = (value: object): string =>
      Buffer.from(JSON.stringify(value)).toString("base64url");
    const payload = { sub: "ada", iss: "dure-shop", exp: 9_999_999_999, roles: ["merchant"] };
    return `${part({ alg: "none" })}.${part(payload)}.`;
  };
  const tampered = (): string => {
    const [header, , signature] = adasToken.split(".");
    const payload = { sub: "ada", iss: "dure-shop", exp: 9_999_999_999, roles: ["merchant"] };
    return `${header}.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.${signature}`;
  };

  test("a token signed with the shop's secret is believed, so that the others fail for their fault", async () => {
    expect((await send({ token: await sign({}) })).status).toBe(200);
  });

  test.each<[string, () => string | Promise<string>]>([
    ["none", () => ""],
    ["expired", () => sign({ seconds: -60 })],
    [
      "signed with another secret",
      () => sign({ secret: "another secret, at least 32 bytes long" }),
    ],
    ["of another issuer", () => sign({ issuer: "somebody" })],
    ["not signed at all", unsigned],
    ["changed after it was signed", tampered],
    ["no token at all", () => "abc"],
  ])("%s: 401 for reading and for writing", async (_, make) => {
    const token = await make();
    await expectProblem(await send({ token }), 401, "UNAUTHENTICATED");
    const write = { token, method: "POST", key: randomUUID(), body: order() };
    await expectProblem(await send(write), 401, "UNAUTHENTICATED");
  });
});
