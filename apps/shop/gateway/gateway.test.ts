import { fastify } from "fastify";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig, ServiceName } from "../chassis/config.ts";
import { testAuth, userToken } from "../chassis/testing/test-server.ts";
import { startGateway } from "./main.ts";

/** A service behind the gateway that answers as told and remembers what it was asked. */
interface Peer {
  readonly app: FastifyInstance;
  readonly url: string;
  readonly asked: FastifyRequest[];
  answer: { status: number; body: unknown; headers?: Record<string, string> };
  isReady: boolean;
}

const order = { productId: "p-1", quantity: 2, unitPrice: 250 };
const newOrder = { items: [order], currency: "GBP" };

let peer: Peer;
let gateway: RunningService;

beforeAll(async () => {
  peer = await startPeer();
  gateway = await startGateway(configOf(peer.url));
});

afterEach(() => {
  peer.asked.length = 0;
  peer.answer = { status: 200, body: {} };
  peer.isReady = true;
});

afterAll(async () => {
  await gateway.stop();
  await peer.app.close();
});

async function startPeer(): Promise<Peer> {
  const app = fastify();
  const started: Omit<Peer, "url"> = {
    app,
    asked: [],
    answer: { status: 200, body: {} },
    isReady: true,
  };
  app.get("/readyz", (_, reply) => reply.code(started.isReady ? 200 : 503).send({}));
  app.all("/*", (request, reply) => {
    started.asked.push(request);
    const { status, body, headers } = started.answer;
    return reply
      .code(status)
      .headers(headers ?? {})
      .send(body);
  });
  return Object.assign(started, { url: await app.listen({ host: "127.0.0.1", port: 0 }) });
}

function configOf(peerUrl: string, extras: Partial<ServiceConfig> = {}): ServiceConfig {
  const names: ServiceName[] = [
    "gateway",
    "order",
    "payment",
    "inventory",
    "delivery",
    "notification",
    "provider",
  ];
  const peers = Object.fromEntries(names.map((name) => [name, peerUrl]));
  return {
    name: "gateway",
    host: "127.0.0.1",
    port: 0,
    databaseUrl: "",
    busUrl: "",
    peers: peers as ServiceConfig["peers"],
    auth: testAuth,
    demo: true,
    rateLimit: false,
    poolMax: 1,
    logLevel: "silent",
    ...extras,
  };
}

interface CallOptions {
  readonly roles?: readonly string[];
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly at?: RunningService;
}

async function call(method: string, path: string, options: CallOptions = {}) {
  const { roles = ["customer"], body, headers, at = gateway } = options;
  const response = await fetch(at.url + path, {
    method,
    headers: {
      authorization: `Bearer ${await userToken({ userId: "Ada Ł", roles })}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: () => JSON.parse(text) as Record<string, unknown>,
  };
}

const key = { "idempotency-key": "k-1" };

test("a call goes on to its owner with user, key, request id and trace, by a service token", async () => {
  peer.answer = {
    status: 201,
    body: { orderId: "O-1" },
    headers: { location: "/orders/O-1", "x-inner": "secret", "idempotent-replayed": "true" },
  };
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const answer = await call("POST", "/orders", {
    body: newOrder,
    headers: {
      ...key,
      "x-request-id": "R-1",
      traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
      "x-user-id": "eve",
    },
  });
  expect([answer.status, answer.text]).toEqual([201, '{"orderId":"O-1"}']);
  expect(answer.headers.get("location")).toBe("/orders/O-1");
  expect(answer.headers.get("idempotent-replayed")).toBe("true");
  expect(answer.headers.get("x-inner")).toBeNull();
  expect(answer.headers.get("x-request-id")).toBe("R-1");

  const asked = peer.asked[0];
  expect(asked).toMatchObject({ method: "POST", url: "/orders", body: newOrder });
  expect(asked?.headers).toMatchObject({
    "idempotency-key": '"k-1"',
    "x-request-id": "R-1",
    "x-user-id": encodeURIComponent("Ada Ł"),
    "x-user-roles": "customer",
  });
  expect(asked?.headers["traceparent"]).toContain(traceId);
  const caller = await createAuthenticator(testAuth).authenticate(asked?.headers.authorization);
  expect(caller).toEqual({ userId: "gateway", roles: ["service"] });
});

test("the owner's refusals are passed on as they are", async () => {
  const problem = { code: "IDEMPOTENCY_IN_PROGRESS", status: 409 };
  const headers = { "content-type": "application/problem+json", "retry-after": "3" };
  peer.answer = { status: 409, body: JSON.stringify(problem), headers };
  const answer = await call("POST", "/orders/O-1/cancel", { headers: key });
  expect([answer.status, answer.json()]).toEqual([409, problem]);
  expect(answer.headers.get("retry-after")).toBe("3");
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
});

test.each([
  ["GET", "/orders?status=PENDING&limit=20&cursor=abc&userId=a%20b", ["customer"]],
  ["GET", "/orders/O-1", ["operator"]],
  ["GET", "/orders/a%2Fb", ["operator"]],
  ["GET", "/orders/O-1/timeline", ["customer"]],
  ["GET", "/returns/R-1", ["customer"]],
  ["GET", "/reconciliation", ["merchant"]],
] as const)("%s %s reaches its owner under the same path", async (method, path, roles) => {
  expect((await call(method, path, { roles })).status).toBe(200);
  const url = new URL(peer.asked[0]?.url ?? "", "http://peer");
  const wanted = new URL(path, "http://peer");
  expect(url.pathname).toBe(wanted.pathname);
  expect(Object.fromEntries(url.searchParams)).toEqual(Object.fromEntries(wanted.searchParams));
});

test("an answer of 401 between the services is not the user's fault", async () => {
  peer.answer = { status: 401, body: {} };
  const answer = await call("GET", "/orders/O-1");
  expect([answer.status, answer.json()["code"]]).toEqual([503, "NOT_READY"]);
});

describe("what cannot be right does not reach the owner", () => {
  const item = (changes: object) => ({ ...newOrder, items: [{ ...order, ...changes }] });

  test.each<[string, unknown]>([
    ["no items", { ...newOrder, items: [] }],
    ["1,001 items", { ...newOrder, items: Array(1001).fill(order) }],
    ["quantity 0", item({ quantity: 0 })],
    ["quantity 1,000,001", item({ quantity: 1_000_001 })],
    ["quantity as text", item({ quantity: "3" })],
    ["half a piece", item({ quantity: 1.5 })],
    ["unit price 0", item({ unitPrice: 0 })],
    ["unit price 1,000,000,001", item({ unitPrice: 1_000_000_001 })],
    ["an empty product id", item({ productId: "" })],
    ["a lone surrogate", item({ productId: "\ud800" })],
    ["another currency", { ...newOrder, currency: "EUR" }],
    ["no currency", { items: [order] }],
    ["an unknown mode", { ...newOrder, mode: "hope" }],
    ["an unknown card", { ...newOrder, payment: { method: "CARD", token: "tok_x" } }],
    ["an unknown field", { ...newOrder, amount: 1 }],
    ["an amount of its own in a line", item({ amount: 1 })],
    ["an array", [newOrder]],
  ])("an order with %s", async (_name, body) => {
    const answer = await call("POST", "/orders", { body, headers: key });
    expect([answer.status, answer.json()["code"]]).toEqual([400, "VALIDATION_FAILED"]);
    expect(peer.asked).toEqual([]);
  });

  test("the limits themselves pass", async () => {
    const most = { productId: "x".repeat(64), quantity: 1_000_000, unitPrice: 1_000_000_000 };
    const body = {
      items: Array(1000).fill(most),
      currency: "GBP",
      mode: "orchestration",
      payment: { method: "CARD", token: "tok_timeout", flow: "one-phase" },
    };
    expect((await call("POST", "/orders", { body, headers: key })).status).toBe(200);
  });

  test.each(["limit=0", "limit=1001", "limit=1.5", "limit=%201", "limit=", "status=DONE", "x=1"])(
    "a list with %s",
    async (query) => {
      expect((await call("GET", `/orders?${query}`)).status).toBe(400);
      expect(peer.asked).toEqual([]);
    },
  );

  test.each([
    ["POST", "/orders", newOrder],
    ["POST", "/orders/O-1/cancel", undefined],
    ["POST", "/returns", { userId: "Ada Ł", items: [{ productId: "p", quantity: 1 }] }],
  ])("%s %s without a key", async (method, path, body) => {
    const answer = await call(method, path, { body });
    expect([answer.status, answer.json()["code"]]).toEqual([400, "IDEMPOTENCY_KEY_MISSING"]);
  });

  test.each([
    ["PUT", "/products/p-1", ["customer", "operator"]],
    ["GET", "/reconciliation", ["customer", "operator"]],
    ["GET", "/orders", []],
    ["POST", "/returns", ["operator"]],
  ])("%s %s by %j", async (method, path, roles) => {
    const answer = await call(method, path, { roles, headers: key });
    expect([answer.status, answer.json()["code"]]).toEqual([403, "FORBIDDEN"]);
  });

  test("a call without a token", async () => {
    const answer = await call("GET", "/orders", { headers: { authorization: "" } });
    expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([
      401,
      expect.stringContaining("Bearer"),
    ]);
  });
});

describe("products", () => {
  const path = "/products/p-1";
  const merchant = { roles: ["merchant"], body: { name: "Tea", available: 5 } };

  test("are read through the cache, and a write is seen at once", async () => {
    peer.answer = { status: 200, body: { available: 1 } };
    await call("GET", path);
    peer.answer = { status: 200, body: { available: 2 } };
    expect((await call("GET", path)).json()).toEqual({ available: 1 });
    await call("PUT", path, merchant);
    expect((await call("GET", path)).json()).toEqual({ available: 2 });
    expect(peer.asked.map((request) => request.method)).toEqual(["GET", "PUT", "GET"]);
  });

  test.each([
    { name: "Tea", available: -1 },
    { name: "Tea", available: "5" },
    { name: "", available: 1 },
    { available: 1 },
    { name: "Tea", available: 1, sold: 1 },
  ])("are not set to %j", async (body) => {
    expect((await call("PUT", path, { ...merchant, body })).status).toBe(400);
  });
});

describe("demo tokens", () => {
  const ask = (body: unknown) => call("POST", "/demo/token", { body });

  test("let their user in, as a customer unless asked otherwise", async () => {
    for (const [body, roles] of [
      [{ userId: "bob" }, ["customer"]],
      [{ userId: "bob", roles: ["operator", "merchant"] }, ["merchant", "operator"]],
    ] as const) {
      const token = (await ask(body)).json()["token"];
      const principal = await createAuthenticator(testAuth).authenticate(`Bearer ${String(token)}`);
      expect(principal).toEqual({ userId: "bob", roles });
    }
  });

  test.each([
    {},
    { userId: "" },
    { userId: "bob", roles: ["service"] },
    { userId: "bob", roles: [] },
  ])("are not given for %j", async (body) => {
    expect((await ask(body)).status).toBe(400);
  });

  test("do not exist outside demo mode", async () => {
    const real = await startGateway(configOf(peer.url, { demo: false }));
    const answer = await call("POST", "/demo/token", { body: { userId: "bob" }, at: real });
    expect(answer.status).toBe(404);
    await real.stop();
  });
});

test("past its burst a principal gets 429, and others do not", async () => {
  const limited = await startGateway(configOf(peer.url, { rateLimit: true }));
  const statuses: number[] = [];
  for (let batch = 0; batch < 30 && !statuses.includes(429); batch += 1) {
    const answers = Array.from({ length: 100 }, () => call("GET", "/orders/O-1", { at: limited }));
    for (const answer of await Promise.all(answers)) {
      statuses.push(answer.status);
      if (answer.status !== 429) continue;
      expect(answer.json()["code"]).toBe("RATE_LIMITED");
      expect(answer.headers.get("retry-after")).toBe("1");
    }
  }
  expect(statuses).toContain(429);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1000);
  const authorization = `Bearer ${await userToken({ userId: "someone else" })}`;
  const other = await call("GET", "/orders/O-1", { at: limited, headers: { authorization } });
  expect(other.status).toBe(200);
  await limited.stop();
});

test("ready only when every service is", async () => {
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  peer.isReady = false;
  const answer = await fetch(`${gateway.url}/readyz`);
  expect([answer.status, await answer.json()]).toMatchObject([503, { code: "NOT_READY" }]);
});

test("a service that is down is a 503 with Retry-After, never a 500", async () => {
  const lonely = await startGateway(configOf("http://127.0.0.1:1"));
  for (const [method, path, options] of [
    ["GET", "/orders/O-1", {}],
    ["GET", "/products/p-1", {}],
    ["POST", "/orders", { body: newOrder, headers: key }],
    ["GET", "/readyz", {}],
  ] as const) {
    const answer = await call(method, path, { ...options, at: lonely });
    expect([answer.status, answer.json()["code"]]).toEqual([503, "NOT_READY"]);
    expect(answer.headers.get("retry-after")).toBe("1");
  }
  await lonely.stop();
});

test("the whole public API is in the document, with its limits", async () => {
  const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { parameters?: { name: string; schema: unknown }[] }>>;
  };
  const calls = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  expect(calls.sort()).toEqual([
    "get /healthz",
    "get /metrics",
    "get /orders",
    "get /orders/{orderId}",
    "get /orders/{orderId}/timeline",
    "get /products/{productId}",
    "get /readyz",
    "get /reconciliation",
    "get /returns/{returnId}",
    "post /demo/token",
    "post /orders",
    "post /orders/{orderId}/cancel",
    "post /returns",
    "put /products/{productId}",
  ]);
  const limit = document.paths["/orders"]?.["get"]?.parameters?.find(
    ({ name }) => name === "limit",
  );
  expect(limit?.schema).toEqual({ type: "integer", minimum: 1, maximum: 1000 });
  expect((await fetch(`${gateway.url}/console`)).status).toBe(404);
});
