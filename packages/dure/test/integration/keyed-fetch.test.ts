/** A saga's calls by plain fetch carry what the callee needs to do each once, and their answers steer the saga (C2, S3, S4). */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { keyedFetch } from "../../src/http/outgoing/index.ts";
import type { KeyedFetchOptions } from "../../src/http/outgoing/index.ts";
import { clientKey, readCompensatedKey, readIdempotencyKey } from "../../src/idempotency/index.ts";
import { saga } from "../../src/index.ts";
import { createTestDatabase } from "../support/test-database.ts";
import { createTestService } from "./service-fixture.ts";

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

let server: Server;
let url: string;
let answers: Answer[];
let received: IncomingMessage[];
beforeEach(async () => {
  answers = [];
  received = [];
  server = createServer((request, response) => {
    received.push(request);
    request.resume();
    request.on("end", () => (answers.shift() ?? ok)(response, request));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/x`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const ok: Answer = (response) => response.end('{"id":7}');
const answer =
  (status: number, body: unknown = {}, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).end(JSON.stringify(body));
const header = (at: number) => (name: string) => {
  const value = received[at]?.headers[name];
  return typeof value === "string" ? [value] : [];
};
const never = new AbortController().signal;
const call = { key: clientKey('a "key"'), signal: never };
const failureOf = (options?: KeyedFetchOptions, caller = call): Promise<unknown> =>
  keyedFetch(caller, url, options).then(
    () => undefined,
    (error: unknown) => error,
  );

describe("the calls of a saga", () => {
  it("carry key, saga, token and trace; a repeat the same key; a compensation its own and the forward key", async () => {
    await using database = await createTestDatabase({ name: "keyed_fetch", poolSizeMax: 6 });
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const retry = { attempts: 3, baseMs: 1, maxMs: 1 };
    const booking = saga("booking", { version: 1, input: z.object({ room: z.string() }) })
      .step("hotel-book", {
        run: async ({ input, call: made }) => {
          const booked = await keyedFetch(made, url, { json: input });
          return (await booked.json()) as { id: number };
        },
        retry,
        compensate: async ({ call: made }) => {
          await keyedFetch(made, url, { json: { undo: true } });
        },
      })
      .pivot("pay", {
        run: async ({ call: made }) => {
          await keyedFetch(made, url, { refusals: { CARD_DECLINED: "DECLINED" } });
        },
        retry,
      })
      .end();
    answers = [answer(503, {}, { "retry-after": "0" }), ok, answer(422, { code: "CARD_DECLINED" })];
    const sagas = { definitions: [booking], leaseMs: 5_000, pollMs: 20 };
    await using service = createTestService({ pool: database.pool, sagas });
    await service.dure.start();
    const options = { id: "SAGA-1", traceparent };
    const run = await service.dure.sagas.start(booking, { room: "12" }, options);
    expect(await run.outcome()).toMatchObject({
      kind: "compensated",
      reason: { code: "DECLINED" },
    });
    const seen = received.map(({ headers }, at) => ({
      key: readIdempotencyKey(header(at)),
      compensates: readCompensatedKey(header(at)),
      saga: headers["saga-id"],
      trace: headers["traceparent"],
    }));
    const from = (key: string, undone?: string) => ({
      key: { kind: "key", key },
      compensates: undone === undefined ? { kind: "missing" } : { kind: "key", key: undone },
      saga: "SAGA-1",
      trace: traceparent,
    });
    expect(seen).toEqual([
      from("SAGA-1-hotel-book"),
      from("SAGA-1-hotel-book"),
      from("SAGA-1-pay"),
      from("SAGA-1-hotel-book-compensate", "SAGA-1-hotel-book"),
    ]);
    const tokens = received.map(({ headers }) => Number(headers["fencing-token"]));
    expect(tokens).toEqual([...new Set(tokens)].toSorted((one, two) => one - two));
  });
});

describe("an answer", () => {
  it("of 2xx is handed on, and what was sent is JSON and the key as it was", async () => {
    const given = await keyedFetch(call, url, { json: { n: 1 }, part: "hold" });
    expect([given.status, await given.json()]).toEqual([200, { id: 7 }]);
    expect(received[0]?.headers["content-type"]).toBe("application/json");
    expect(readIdempotencyKey(header(0))).toEqual({ kind: "key", key: 'a "key"/hold' });
  });

  it.each<[string, Answer, object]>([
    [
      "a code that the caller knows refuses",
      answer(422, { code: "NO" }),
      { code: "STEP_REFUSED", reason: "WHY" },
    ],
    [
      "compensated before it came refuses",
      answer(409, { code: "STEP_COMPENSATED" }),
      { code: "STEP_REFUSED", reason: "STEP_COMPENSATED" },
    ],
    [
      "busy is asked again, not before its pause",
      answer(429, {}, { "retry-after": "2" }),
      { code: "RETRYABLE", retryAfterMs: 2_000 },
    ],
    [
      "not now, until a date of its own clock",
      answer(
        503,
        {},
        {
          date: "Sat, 01 Jan 2000 00:00:00 GMT",
          "retry-after": "Sat, 01 Jan 2000 00:01:00 GMT",
        },
      ),
      { code: "RETRYABLE", retryAfterMs: 60_000 },
    ],
    ["in progress is asked again", answer(409, {}), { code: "RETRYABLE" }],
    ["a code of 5xx is no refusal", answer(500, { code: "NO" }), { code: "CALL_OUTCOME_UNKNOWN" }],
    [
      "a gateway's silence says nothing",
      answer(504),
      { code: "CALL_OUTCOME_UNKNOWN", status: 504 },
    ],
    ["a refusal that nobody expects is for good", answer(422), { code: "PERMANENT" }],
    ["a redirect is not followed", answer(302, {}, { location: "/y" }), { code: "PERMANENT" }],
    ["not built is for good", answer(501), { code: "PERMANENT" }],
    [
      "a broken connection says nothing",
      (response) => response.destroy(),
      { code: "CALL_OUTCOME_UNKNOWN" },
    ],
    [
      "a body that breaks off says nothing",
      (response) =>
        response.writeHead(200, { "content-length": "9" }).write("1", () => response.destroy()),
      { code: "CALL_OUTCOME_UNKNOWN" },
    ],
    [
      "more than is read says nothing",
      (response) => response.end("x".repeat(101)),
      { code: "CALL_OUTCOME_UNKNOWN", status: 200 },
    ],
  ])("%s", async (_name, given, facts) => {
    answers = [given];
    const options = { refusals: { NO: "WHY" }, answerBytesMax: 100 };
    expect(await failureOf(options)).toMatchObject(facts);
    expect(received).toHaveLength(1);
  });

  it("that cannot come, for nobody listens, is asked for again, and nothing was begun", async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect(await failureOf()).toMatchObject({ code: "RETRYABLE" });
  });

  it("is waited for no longer than the signal says", async () => {
    const controller = new AbortController();
    answers = [() => controller.abort(new Error("lost"))];
    expect(await failureOf({}, { ...call, signal: controller.signal })).toMatchObject({
      message: "lost",
    });
  });

  it("is not asked for with a key that no header can carry", async () => {
    const long = { key: "k".repeat(256), sagaId: "S", signal: never };
    await expect(keyedFetch(long, url)).rejects.toMatchObject({ code: "PERMANENT" });
    expect(received).toHaveLength(0);
  });
});
