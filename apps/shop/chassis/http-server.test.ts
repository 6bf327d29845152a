import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { HttpServer } from "./http-server.ts";
import { ProblemError } from "./problem.ts";
import { createTestServer, userToken } from "./testing/test-server.ts";

const bodySchema = z.strictObject({
  items: z.array(z.strictObject({ quantity: z.int().min(1), note: z.string().optional() })),
});

let server: HttpServer;
let stored: unknown[];

beforeEach(async () => {
  server = await createTestServer();
  stored = [];
  const { app } = server;
  app.post(
    "/orders",
    { config: { access: "public" }, schema: { body: bodySchema } },
    (request, reply) => {
      stored.push(request.body);
      return reply.code(201).send({});
    },
  );
  const params = z.strictObject({ orderId: z.string().regex(/^[A-Z0-9-]{1,64}$/) });
  const querystring = z.strictObject({ limit: z.string().regex(/^\d+$/).optional() });
  app.get(
    "/orders/:orderId",
    { config: { access: "public" }, schema: { params, querystring } },
    (request) => ({ id: request.params.orderId }),
  );
  app.get("/broken", { config: { access: "public" } }, () => {
    throw new Error("password=hunter2 in /etc/secret");
  });
  app.route({
    url: "/reset",
    method: ["GET", "POST"],
    config: { access: "public" },
    handler: () => {
      throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
    },
  });
  app.get("/refused", { config: { access: "public" } }, () => {
    throw new ProblemError("PROVIDER_THROTTLED", "Wait.", { retryAfterMs: 1500 });
  });
  await app.ready();
});

afterEach(() => server.stop());

interface ProblemAnswer {
  readonly statusCode: number;
  readonly headers: Record<string, string | number | string[] | undefined>;
  json(): unknown;
}

const problemSchema = z.strictObject({
  type: z.string().startsWith("urn:"),
  title: z.string().min(1),
  status: z.int(),
  detail: z.string().min(1),
  code: z.string(),
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  errors: z.array(z.strictObject({ path: z.string(), message: z.string().min(1) })).optional(),
});

/** Every error answer must have all of this, whatever caused it. */
function expectProblem(answer: ProblemAnswer, status: number, code: string): void {
  expect(problemSchema.parse(answer.json())).toMatchObject({ status, code });
  expect(answer.statusCode).toBe(status);
  expect(answer.headers["content-type"]).toContain("application/problem+json");
  expect(answer.headers["x-request-id"]).toMatch(/^REQ-[0-9A-Z]{26}$/);
  expect(answer.headers["traceparent"]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
}

function post(payload: string | Buffer, headers: Record<string, string> = {}) {
  return server.app.inject({
    method: "POST",
    url: "/orders",
    payload,
    headers: { "content-type": "application/json", ...headers },
  });
}

describe("a body that cannot be read is refused before any handler runs", () => {
  test.each([
    ["broken JSON", "{", 400, "MALFORMED_JSON"],
    ["invalid UTF-8", Buffer.from([0x22, 0xff, 0xfe, 0x22]), 400, "MALFORMED_JSON"],
    ["a poisoned prototype", '{"items":[],"__proto__":{"x":1}}', 400, "MALFORMED_JSON"],
    ["a poisoned constructor", '{"constructor":{"prototype":{}}}', 400, "MALFORMED_JSON"],
    ["U+0000", '{"items":[{"quantity":1,"note":"a\\u0000"}]}', 400, "VALIDATION_FAILED"],
    ["U+0000 in a key", '{"a\\u0000":1}', 400, "VALIDATION_FAILED"],
    ["more than 1 MiB", `"${"x".repeat(1_048_576)}"`, 413, "PAYLOAD_TOO_LARGE"],
    ["nothing", "", 400, "VALIDATION_FAILED"],
    ["deep nesting", "[".repeat(200_000) + "]".repeat(200_000), 400, "VALIDATION_FAILED"],
    ["null", "null", 400, "VALIDATION_FAILED"],
  ])("%s", async (_name, payload, status, code) => {
    expectProblem(await post(payload), status, code);
    expect(stored).toEqual([]);
  });

  test.each([
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "nonsense",
    ";",
  ])("content type %s", async (type) => {
    expectProblem(await post("{}", { "content-type": type }), 415, "UNSUPPORTED_MEDIA_TYPE");
  });

  test("a body without a content type", async () => {
    const answer = await server.app.inject({
      method: "POST",
      url: "/orders",
      payload: Buffer.from("{}"),
    });
    expectProblem(answer, 415, "UNSUPPORTED_MEDIA_TYPE");
  });
});

test("validation names every field that is wrong, coerces nothing and refuses unknown fields", async () => {
  const answer = await post('{"items":[{"quantity":"3"},{"quantity":1,"extra":1}],"more":1}');
  expectProblem(answer, 400, "VALIDATION_FAILED");
  const { errors } = answer.json<{ errors: { path: string }[] }>();
  expect(errors.map((error) => error.path)).toEqual(["items.0.quantity", "items.1.extra", "more"]);
});

test("an escaped backslash before u0000 is an ordinary string", async () => {
  const answer = await post('{"items":[{"quantity":1,"note":"\\\\u0000"}]}');
  expect(answer.statusCode).toBe(201);
});

describe("a request for something that is not there", () => {
  test.each([
    ["GET", "/nothing", 404, "NOT_FOUND"],
    ["POST", "/nothing", 404, "NOT_FOUND"],
    ["DELETE", "/orders/A", 405, "METHOD_NOT_ALLOWED"],
    ["GET", "/orders/%ZZ", 400, "VALIDATION_FAILED"],
    ["GET", "/orders/%00", 400, "VALIDATION_FAILED"],
    ["GET", "/orders/%FF", 400, "VALIDATION_FAILED"],
    ["GET", "/orders/lower", 400, "VALIDATION_FAILED"],
    ["GET", `/orders/${"A".repeat(500)}`, 400, "VALIDATION_FAILED"],
    ["GET", "/orders/A?limit=x", 400, "VALIDATION_FAILED"],
    ["GET", "/orders/A?limit=1&limit=2", 400, "VALIDATION_FAILED"],
    ["GET", "/orders/A?unknown=1", 400, "VALIDATION_FAILED"],
    ["GET", "/orders/A?__proto__=1", 400, "VALIDATION_FAILED"],
    ["GET", "/docs/static/nothing.js", 404, "NOT_FOUND"],
    ["GET", "/docs/static/..%2f..%2fpackage.json", 404, "NOT_FOUND"],
  ] as const)("%s %s", async (method, url, status, code) => {
    const answer = await server.app.inject({
      method,
      url,
      ...(method === "POST" ? { payload: "x", headers: { "content-type": "text/plain" } } : {}),
    });
    expectProblem(answer, status, code);
  });

  test("a wrong method is told the right ones", async () => {
    const answer = await server.app.inject({ method: "PUT", url: "/orders" });
    expectProblem(answer, 405, "METHOD_NOT_ALLOWED");
    expect(answer.headers["allow"]).toBe("POST, OPTIONS");
  });

  test("OPTIONS names the methods, HEAD answers as GET does", async () => {
    const options = await server.app.inject({ method: "OPTIONS", url: "/orders/A" });
    expect([options.statusCode, options.headers["allow"]]).toEqual([204, "GET, HEAD, OPTIONS"]);
    const head = await server.app.inject({ method: "HEAD", url: "/orders/A" });
    expect([head.statusCode, head.body]).toEqual([200, ""]);
  });
});

test("an unexpected error is a 500 that gives nothing away", async () => {
  const answer = await server.app.inject({ url: "/broken" });
  expectProblem(answer, 500, "INTERNAL");
  expect(answer.body).not.toMatch(/hunter2|secret|at .*:\d+/);
});

test("a connection of ours that is reset is a 500: to a saga, a 400 would be a refusal for good", async () => {
  const url = await server.listen({ host: "127.0.0.1", port: 0 });
  for (const [path, init] of [
    ["/reset", {}],
    ["/reset", { method: "POST", body: "{}", headers: { "content-type": "application/json" } }],
  ] as const) {
    const answer = await fetch(url + path, init);
    expect([answer.status, await answer.json()]).toMatchObject([500, { code: "INTERNAL" }]);
  }
});

test("a problem carries Retry-After in whole seconds", async () => {
  const answer = await server.app.inject({ url: "/refused" });
  expectProblem(answer, 503, "PROVIDER_THROTTLED");
  expect(answer.headers["retry-after"]).toBe("2");
});

describe("request id and trace", () => {
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";

  test("a harmless id and a valid trace are continued, on errors too", async () => {
    for (const url of ["/orders/A", "/nothing", "/broken", "/orders/%ZZ"]) {
      const answer = await server.app.inject({
        url,
        headers: { "x-request-id": "my id 1", traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
      });
      expect(answer.headers["x-request-id"]).toBe("my id 1");
      expect(answer.headers["traceparent"]).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
      expect(answer.headers["traceparent"]).not.toContain("00f067aa0ba902b7");
    }
  });

  test.each(["x".repeat(129), "caf\u00e9", "a\tb"])("the id %j is replaced", async (id) => {
    const answer = await server.app.inject({ url: "/healthz", headers: { "x-request-id": id } });
    expect(answer.headers["x-request-id"]).toMatch(/^REQ-/);
  });

  test.each([
    "nonsense",
    `ff-${traceId}-00f067aa0ba902b7-01`,
    `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId}-00f067aa0ba902b7-01-more`,
  ])("the trace %s is not continued", async (traceparent) => {
    const answer = await server.app.inject({ url: "/healthz", headers: { traceparent } });
    expect(answer.headers["traceparent"]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(answer.headers["traceparent"]).not.toContain(traceId);
  });
});

describe("on a real socket", () => {
  test.each([
    ["oversized headers", `GET / HTTP/1.1\r\nhost: x\r\nx-long: ${"x".repeat(40_000)}`, "413"],
    ["no HTTP at all", "nonsense", "400"],
    ["an unknown method", "BREW / HTTP/1.1\r\nhost: x", "400"],
    ["a method of WebDAV", "PROPFIND /orders HTTP/1.1\r\nhost: x", "405"],
    ["a path of slashes", "GET //// HTTP/1.1\r\nhost: x", "404"],
    ["a wish that Node does not know", "PUT /orders HTTP/1.1\r\nhost: x\r\nexpect: wonders", "405"],
    ["a path that climbs", "GET /docs/static/../x HTTP/1.1\r\nhost: x", "404"],
    ["an asterisk", "GET * HTTP/1.1\r\nhost: x", "404"],
  ])("%s gets a problem, not a broken connection", async (_name, head, status) => {
    await server.listen({ host: "127.0.0.1", port: 0 });
    const answer = await exchange(server, `${head}\r\n\r\n`);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain("application/problem+json");
    expect(answer).toContain("x-request-id: REQ-");
  });

  test("stop lets a request in flight finish and cuts it off at the limit", async () => {
    const started = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const quick = await createTestServer();
    quick.app.get("/slow", { config: { access: "public" } }, async () => {
      started.resolve();
      await release.promise;
      return { done: true };
    });
    const url = await quick.listen({ host: "127.0.0.1", port: 0 });
    const answer = fetch(`${url}/slow`);
    await started.promise;
    const stopped = quick.stop({ withinMs: 5000 });
    release.resolve();
    expect(await (await answer).json()).toEqual({ done: true });
    await stopped;

    const stuck = await createTestServer();
    const entered = Promise.withResolvers<void>();
    stuck.app.get("/stuck", { config: { access: "public" } }, () => {
      entered.resolve();
      return new Promise<void>(() => {});
    });
    const stuckUrl = await stuck.listen({ host: "127.0.0.1", port: 0 });
    const cutOff = fetch(`${stuckUrl}/stuck`).then(
      () => "answered",
      () => "cut off",
    );
    await entered.promise;
    await stuck.stop({ withinMs: 20 });
    expect(await cutOff).toBe("cut off");
  });
});

test("a route that does not say who may call it stops the start", async () => {
  const careless = await createTestServer();
  expect(() => careless.app.get("/open", () => ({}))).toThrow(/does not say who may call it/);
  await careless.stop();
});

test("readyz is 503 while a check fails and 200 again afterwards", async () => {
  let up = false;
  const check = () => (up ? Promise.resolve() : Promise.reject(new Error("no")));
  const other = await createTestServer({ readiness: [{ name: "database", check }] });
  const down = await other.app.inject({ url: "/readyz" });
  expectProblem(down, 503, "NOT_READY");
  expect(down.json()).toMatchObject({ detail: "Not ready: database." });
  up = true;
  expect((await other.app.inject({ url: "/readyz" })).statusCode).toBe(200);
  await other.stop();
});

test("metrics count answers by route pattern, never by path", async () => {
  await server.app.inject({ url: "/orders/SECRET-1" });
  await server.app.inject({ url: "/nothing-SECRET-2" });
  const text = (await server.app.inject({ url: "/metrics" })).body;
  expect(text).toMatch(
    /_count\{service="order",method="GET",route="\/orders\/:orderId",status="200"\} 1/,
  );
  expect(text).toContain('route="unknown",status="404"');
  expect(text).not.toContain("SECRET");
});

test("the API document is OpenAPI 3.1 and describes tokens, keys and problems", async () => {
  const other = await createTestServer();
  other.app.post(
    "/orders/:orderId/cancel",
    {
      config: { access: ["customer"], idempotencyKey: true },
      schema: {
        params: z.strictObject({ orderId: z.string() }),
        body: z.strictObject({}).optional(),
        response: { 200: z.strictObject({ orderId: z.string() }).describe("Canceled") },
      },
    },
    (request) => ({ orderId: request.params.orderId }),
  );
  await other.app.ready();
  const document = (await other.app.inject({ url: "/openapi.json" })).json<Record<string, never>>();
  expect(document).toMatchObject({
    openapi: "3.1.0",
    paths: {
      "/orders/{orderId}/cancel": {
        post: {
          security: [{ bearer: [] }],
          parameters: [
            { name: "orderId", in: "path", required: true, schema: { type: "string" } },
            { name: "Idempotency-Key", in: "header", required: true },
          ],
          responses: { 200: { description: "Canceled" }, default: {} },
        },
      },
      "/healthz": { get: {} },
    },
  });
  expect(JSON.stringify(document)).not.toContain("requestBody");
  expect(Object.keys(document["paths"] ?? {})).not.toContain("/docs/");
  expect((await other.app.inject({ url: "/docs/" })).statusCode).toBe(200);
  await other.stop();
});

test("a token that is not shown is told so without an error code, a bad one with it", async () => {
  const other = await createTestServer();
  other.app.get("/mine", { config: { access: ["customer"] } }, (request) => request.principal);
  const none = await other.app.inject({ url: "/mine" });
  expectProblem(none, 401, "UNAUTHENTICATED");
  expect(none.headers["www-authenticate"]).toBe('Bearer realm="shop"');
  const good = await other.app.inject({
    url: "/mine",
    headers: { authorization: `Bearer ${await userToken()}` },
  });
  expect(good.json()).toEqual({ userId: "ada", roles: ["customer"] });
  await other.stop();
});

/** Sends bytes that no HTTP client would send and reads until the server closes or falls silent. */
function exchange(target: HttpServer, text: string): Promise<string> {
  const address = target.app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return new Promise((resolve, reject) => {
    let received = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      received += chunk;
      if (received.endsWith("}")) socket.end();
    });
    socket.on("close", () => resolve(received));
    socket.on("error", reject);
  });
}
