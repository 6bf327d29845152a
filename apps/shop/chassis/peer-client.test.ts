import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { createPeerClient, pathOf } from "./peer-client.ts";
import type { PeerCall, PeerClient } from "./peer-client.ts";
import { PeerError } from "./peer-error.ts";
import { newCallContext } from "./trace-context.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const schema = z.strictObject({ ok: z.literal(true) });
const good: Answer = (_, response) => response.end('{"ok":true}');
const status =
  (code: number, body = "{}", headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    response.writeHead(code, headers).end(body);
const disconnect: Answer = (request) => request.socket.destroy();
const silence: Answer = () => {};

let server: Server;
let client: PeerClient;
let answers: Answer[];
let received: IncomingMessage[];

beforeEach(async () => {
  answers = [];
  received = [];
  server = createServer((request, response) => {
    received.push(request);
    request.resume();
    request.on("end", () => (answers.shift() ?? good)(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  client = clientOf(baseUrl());
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await client.close();
});

function baseUrl(): string {
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
}

function clientOf(url: string): PeerClient {
  const tokens = { current: () => Promise.resolve("the-token") };
  return createPeerClient({ peer: "payment", baseUrl: url, tokens, timeoutMs: 30_000, retries: 1 });
}

const context = newCallContext();
const ask = (call: Partial<PeerCall> = {}) =>
  client.ask({ method: "POST", path: "/charge", body: {}, context, schema, ...call });

async function failure(call: Partial<PeerCall> = {}): Promise<PeerError> {
  const error: unknown = await ask(call).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof PeerError)) throw new Error("no PeerError", { cause: error });
  return error;
}

test("a call carries token, request id, trace and key, and its answer is parsed", async () => {
  expect(await ask({ idempotencyKey: 'a"b' })).toEqual({ ok: true });
  expect(received[0]?.headers).toMatchObject({
    authorization: "Bearer the-token",
    "x-request-id": context.requestId,
    traceparent: `00-${context.trace.traceId}-${context.trace.spanId}-01`,
    "idempotency-key": '"a\\"b"',
    "content-type": "application/json",
  });
});

test("a path parameter cannot leave its place", () => {
  expect(pathOf("orders", "../../ledger?x", "cancel")).toBe("/orders/..%2F..%2Fledger%3Fx/cancel");
});

describe("what may be repeated is repeated, the rest is sent once", () => {
  test.each<[string, Partial<PeerCall>, number]>([
    ["GET", { method: "GET", body: undefined }, 2],
    ["PUT", { method: "PUT" }, 2],
    ["POST with a key", { idempotencyKey: "k" }, 2],
    ["POST without a key", {}, 1],
  ])("%s", async (_name, call, sent) => {
    answers = [status(503), good];
    await ask(call).catch(() => undefined);
    expect(received).toHaveLength(sent);
  });

  test("a refusal for good is not asked again", async () => {
    answers = [status(422, '{"code":"IDEMPOTENCY_KEY_REUSED","detail":"no"}')];
    expect(await failure({ idempotencyKey: "k" })).toMatchObject({
      status: 422,
      code: "IDEMPOTENCY_KEY_REUSED",
      retryable: false,
      outcomeUnknown: false,
    });
    expect(received).toHaveLength(1);
  });
});

describe("an error says whether the peer may have done it", () => {
  test.each<[string, Answer, Partial<PeerError>]>([
    ["busy", status(429, "{}", { "retry-after": "2" }), { status: 429, retryAfterMs: 2000 }],
    ["not ready", status(503, '{"code":"NOT_READY"}'), { code: "NOT_READY", retryable: true }],
    ["not built", status(501), { status: 501, retryable: false }],
  ])("it has not: %s", async (_name, answer, facts) => {
    answers = [answer];
    expect(await failure()).toMatchObject({ ...facts, outcomeUnknown: false });
  });

  test.each<[string, Answer, Partial<PeerError>]>([
    ["broken connection", disconnect, { code: "DISCONNECTED", retryable: true }],
    ["no answer in time", silence, { code: "TIMED_OUT", retryable: true }],
    ["500", status(500), { status: 500, retryable: true }],
    ["gateway timeout", status(504, "<html>"), { code: "HTTP_504", retryable: true }],
    ["still running", status(409, '{"code":"IDEMPOTENCY_IN_PROGRESS"}'), { retryable: true }],
    ["an answer off contract", status(200, '{"ok":1}'), { code: "UNREADABLE", retryable: false }],
    ["an answer that is no JSON", status(200, "<html>"), { code: "UNREADABLE" }],
  ])("it may have: %s", async (_name, answer, facts) => {
    answers = [answer];
    // Short only where nothing comes: on a busy machine any answer may take its time.
    const call = answer === silence ? { timeoutMs: 100 } : {};
    expect(await failure(call)).toMatchObject({ ...facts, outcomeUnknown: true });
  });

  test("no connection: it has not, and it is worth another try", async () => {
    await client.close();
    client = clientOf("http://127.0.0.1:1");
    expect(await failure()).toMatchObject({
      code: "UNREACHABLE",
      retryable: true,
      outcomeUnknown: false,
    });
  });

  test("'not now' after a broken connection leaves the outcome unknown", async () => {
    answers = [disconnect, status(503)];
    expect(await failure({ idempotencyKey: "k" })).toMatchObject({
      status: 503,
      outcomeUnknown: true,
    });
  });

  test("a definite refusal of the same key ends the doubt", async () => {
    answers = [disconnect, status(409, '{"code":"STEP_COMPENSATED"}')];
    expect(await failure({ idempotencyKey: "k" })).toMatchObject({
      code: "STEP_COMPENSATED",
      outcomeUnknown: false,
    });
  });

  test("the caller's signal gives up at once", async () => {
    answers = [silence];
    const controller = new AbortController();
    const failed = failure({ context: { ...context, signal: controller.signal } });
    controller.abort();
    expect(await failed).toMatchObject({ code: "ABORTED", retryable: false });
  });
});

test("close does not wait for a peer that stays silent", async () => {
  const entered = Promise.withResolvers<void>();
  answers = [() => entered.resolve()];
  const failed = failure();
  await entered.promise;
  await client.close();
  expect(await failed).toMatchObject({ code: "DISCONNECTED", outcomeUnknown: true });
});

test("forward gives the answer as it is, whatever its status", async () => {
  answers = [status(409, '{"code":"X"}', { "retry-after": "1" })];
  const answer = await client.forward({ method: "GET", path: "/orders", context });
  expect(answer).toMatchObject({ status: 409, text: '{"code":"X"}' });
  expect(answer.headers["retry-after"]).toBe("1");
});
