/** Express: whatever way a handler answers, it is stored before anybody sees it, or is an error that says so (law H4). */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, request as httpRequest, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KeyedTransaction } from "../../src/index.ts";
import { idempotent } from "../../src/http/express/index.ts";
import type { ExpressInput, ExpressRequestShape } from "../../src/http/express/index.ts";
import type { Reply } from "../../src/idempotency/index.ts";
import { needOutside } from "../support/outside-package.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { countOf, createOrderDatabase, itemsOf } from "./keyed-orders.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

interface ExpressResponse extends ServerResponse {
  status(code: number): this;
  set(name: string, value: string): this;
  json(body: unknown): this;
  send(body?: unknown): this;
  sendFile(path: string): void;
  redirect(status: number, url: string): void;
  sendStatus(code: number): this;
}

type Handler = (
  request: ExpressRequestShape,
  response: ExpressResponse,
  next: (error: unknown) => void,
) => unknown;

interface Express {
  (request: unknown, response: unknown): void;
  use(middleware: unknown): void;
  post(path: string, handler: Handler): void;
}

interface ExpressModule {
  readonly default: { (): Express; json(): unknown };
}

type Input = ExpressInput<ExpressRequestShape, ExpressResponse, KeyedTransaction<pg.PoolClient>>;

let database: TestDatabase;
let service: TestService;
let app: Express;
let server: Server;
let base: string;
let folder: string;
let errors: unknown[];

beforeEach(async (context) => {
  const express = await needOutside<ExpressModule>(context, "frameworks", "express");
  folder = await mkdtemp(join(tmpdir(), "dure-express-"));
  await writeFile(join(folder, "list.txt"), "one\ntwo\n");
  database = await createOrderDatabase("keys express");
  service = createTestService({ pool: database.pool, relay: false });
  errors = [];
  app = express.default();
  app.use(express.default.json());
  server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await service.stop();
  await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A route that writes a row and then answers in that way. */
function route(path: string, answer: (input: Input) => Promise<Reply | void> | void): void {
  const options = { principal: () => "anyone", answerBytesMax: 10_000 };
  app.post(
    path,
    idempotent<ExpressRequestShape, ExpressResponse, KeyedTransaction<pg.PoolClient>>(
      service.dure,
      options,
      async (input) => {
        await input.tx.query("insert into orders (item) values ($1)", [path]);
        return answer(input);
      },
    ),
  );
}

function answerErrors(): void {
  app.use((error: unknown, _request: unknown, response: ExpressResponse, _next: unknown) => {
    errors.push(error);
    if (response.headersSent) response.end();
    else response.status(500).json({ error: String((error as { code?: unknown }).code) });
  });
}

const post = (path: string, { body = '{"a":1}', type = "application/json" } = {}) =>
  fetch(`${base}${path}`, {
    method: "POST",
    headers: { "content-type": type, "idempotency-key": path },
    body,
    redirect: "manual",
  });

describe("a handler", () => {
  const ways: Readonly<Record<string, (input: Input) => Promise<Reply | void> | void>> = {
    returned: async () => ({ status: 201, headers: { location: "/1" }, body: { id: 1 } }),
    json: ({ response }) => void response.status(201).json({ id: 1 }),
    send: ({ response }) => void response.set("etag", '"v1"').send("text"),
    bytes: ({ response }) => void response.send(Buffer.from([0, 255, 10])),
    end: ({ response }) => void response.end(),
    redirect: ({ response }) => response.redirect(303, "/orders/1"),
    writeHead: ({ response }) => {
      response.writeHead(202, { "Content-Type": "text/x-parts" });
      response.write("ab", () => response.write(Buffer.from("c")));
      setImmediate(() => response.end("Z2g=", "base64"));
    },
    stream: ({ response }) => void Readable.from(["a", "b", "c"]).pipe(response),
    sendFile: ({ response }) => response.sendFile(join(folder, "list.txt")),
    sendStatus: ({ response }) => void response.sendStatus(404),
  };

  it.each(Object.keys(ways))("may answer by %s, and the repeat gets the very same", async (way) => {
    const answer = ways[way];
    if (answer === undefined) throw new Error(way);
    route(`/${way}`, answer);
    answerErrors();
    const [first, again] = [await post(`/${way}`), await post(`/${way}`)];
    expect(errors).toEqual([]);
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(again.status).toBe(first.status);
    for (const name of ["content-type", "location", "etag", "content-length"]) {
      expect(again.headers.get(name), name).toBe(first.headers.get(name));
    }
    const body = await first.bytes();
    expect(await again.bytes()).toEqual(body);
    expect(body.byteLength > 0).toBe(way !== "end");
    expect(await itemsOf(database.pool)).toEqual(way === "sendStatus" ? [] : [`/${way}`]);
  });

  it("that answers past the wrapper, too much, or twice gets an error that says so, and nothing is committed", async () => {
    route("/large", ({ response }) => void response.send("x".repeat(10_001)));
    route("/endless", ({ response }) => void Readable.from(endless()).pipe(response));
    route("/twice", async ({ response }) => {
      response.json({});
      return { status: 200 };
    });
    let real: ExpressResponse | undefined;
    app.use((_: unknown, response: ExpressResponse, next: () => void) => {
      real = response;
      next();
    });
    route("/past", async () => {
      real?.send("past the wrapper");
      return { status: 200 };
    });
    answerErrors();
    for (const path of ["/large", "/endless", "/twice"]) {
      const answer = await post(path);
      expect([answer.status, await answer.json()]).toEqual([500, { error: "ANSWER_NOT_STORABLE" }]);
    }
    await post("/past");
    // Its caller has an answer before the wrapper knows.
    await expect
      .poll(() => errors.map((error) => (error as { code: string }).code))
      .toEqual(Array.from({ length: 4 }, () => "ANSWER_NOT_STORABLE"));
    expect(await itemsOf(database.pool)).toEqual([]);
    expect(await countOf(database.pool, "dure.idempotency_record")).toBe(0);
  });

  it("that fails after half an answer leaves neither half nor writes, and may be tried again", async () => {
    let count = 0;
    route("/half", ({ response }) => {
      response.write("half of it");
      count += 1;
      if (count === 1) throw Object.assign(new Error("no luck"), { code: "NO_LUCK" });
      response.end(" and the rest");
    });
    answerErrors();
    const first = await post("/half");
    expect([first.status, await first.json()]).toEqual([500, { error: "NO_LUCK" }]);
    expect(await (await post("/half")).text()).toBe("half of it and the rest");
    expect(await itemsOf(database.pool)).toEqual(["/half"]);
  });

  it("of a body that no parser reads gets it as bytes, and another body is another request", async () => {
    route("/csv", ({ request, response }) => void response.send(String(request.body)));
    answerErrors();
    const csv = (body: string) => post("/csv", { body, type: "text/csv" });
    expect(await (await csv("a,b")).text()).toBe("a,b");
    expect((await csv("a,b")).headers.get("idempotent-replayed")).toBe("true");
    expect((await csv("a,c")).status).toBe(422);
    expect((await csv("x".repeat(2_000_000))).status).toBe(413);
  });
});

describe("a caller that hangs up in the middle", () => {
  it("does not stop the work, and the repeat gets its answer", async () => {
    const begun = Promise.withResolvers<void>();
    const hungUp = Promise.withResolvers<void>();
    route("/slow", async ({ response }) => {
      begun.resolve();
      await hungUp.promise;
      response.status(201).json({ id: 1 });
    });
    server.once("connection", (socket) => socket.once("close", () => hungUp.resolve()));
    const caller = httpRequest(`${base}/slow`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "/slow" },
    });
    caller.on("error", () => {});
    caller.end('{"a":1}');
    await begun.promise;
    caller.destroy();
    await hungUp.promise;
    const again = await post("/slow");
    expect([again.status, await again.text()]).toEqual([201, '{"id":1}']);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(await itemsOf(database.pool)).toEqual(["/slow"]);
  });
});

async function* endless(): AsyncGenerator<string> {
  for (;;) yield "x".repeat(1_000);
}
