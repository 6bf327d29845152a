/** Fastify: what a route answers goes through its schema once, before COMMIT, and a caller that hangs up changes nothing (laws H1, H4). */
import { request as httpRequest } from "node:http";
import Fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../../src/http/fastify/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { createOrderDatabase, itemsOf } from "./keyed-orders.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
let app: FastifyInstance;

beforeEach(async () => {
  database = await createOrderDatabase("keys fastify");
  service = createTestService({ pool: database.pool, relay: false });
  app = Fastify();
});
afterEach(async () => {
  await app.close();
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const options = { principal: (request: FastifyRequest) => String(request.headers["tenant"]) };
const schema = {
  body: { type: "object", required: ["item"], properties: { item: { type: "string" } } },
  response: { 201: { type: "object", properties: { item: { type: "string" } } } },
};
const send = (item: string, key?: string) => ({
  method: "POST" as const,
  url: "/orders",
  headers: { ...(key !== undefined && { "idempotency-key": key }) },
  payload: { item },
});

describe("a route with a response schema", () => {
  it("answers by it, and replays the very bytes", async () => {
    app.post(
      "/orders",
      { schema },
      idempotent(service.dure, options, async ({ request, tx }) => {
        const { item } = request.body as { item: string };
        await tx.query("insert into orders (item) values ($1)", [item]);
        return {
          status: 201,
          headers: { location: "/orders/1", "set-cookie": ["a=1", "b=2"] },
          body: { item, secret: "not in the schema" },
        };
      }),
    );
    const first = await app.inject(send("tea", "k"));
    const again = await app.inject(send("tea", "k"));
    expect([first.statusCode, first.body]).toEqual([201, '{"item":"tea"}']);
    expect([again.statusCode, again.body]).toEqual([201, '{"item":"tea"}']);
    expect(again.headers).toMatchObject({
      location: "/orders/1",
      "content-type": "application/json; charset=utf-8",
      "idempotent-replayed": "true",
    });
    expect([first, again].map(({ headers }) => headers["set-cookie"])).toEqual([
      ["a=1", "b=2"],
      undefined,
    ]);
    expect((await app.inject(send("milk", "k"))).statusCode).toBe(422);
    expect((await app.inject(send("milk"))).json()).toMatchObject({
      status: 400,
      code: "IDEMPOTENCY_KEY_MISSING",
    });
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });
});

describe("an error of the handler", () => {
  it("is Fastify's to answer, and is stored only where the route makes it an answer", async () => {
    let count = 0;
    const refuse = async (): Promise<never> => {
      count += 1;
      throw Object.assign(new Error(`refused ${count}`), { statusCode: 422 });
    };
    app.post("/orders", idempotent(service.dure, options, refuse));
    const replyOfError = (error: unknown) => ({ status: 422, body: String(error) });
    app.post("/stored", idempotent(service.dure, { ...options, replyOfError }, refuse));
    const plain = [await app.inject(send("tea", "k")), await app.inject(send("tea", "k"))];
    expect(
      plain.map((each) => [each.statusCode, each.json<{ message: string }>().message]),
    ).toEqual([
      [422, "refused 1"],
      [422, "refused 2"],
    ]);
    const stored = { ...send("tea", "k2"), url: "/stored" };
    const bodies = [await app.inject(stored), await app.inject(stored)].map(({ body }) => body);
    expect(bodies).toEqual(["Error: refused 3", "Error: refused 3"]);
  });
});

describe("a handler that answers through the reply", () => {
  it("is an error that says so, and nothing is committed", async () => {
    app.post("/orders", { config: {} }, (request, reply) =>
      idempotent(service.dure, options, async ({ tx }) => {
        await tx.query("insert into orders (item) values ('lost')");
        reply.hijack();
        reply.raw.end("past the wrapper");
        return { status: 200 };
      })(request, reply).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "ANSWER_NOT_STORABLE" });
      }),
    );
    expect((await app.inject(send("tea", "k"))).body).toBe("past the wrapper");
    expect(await itemsOf(database.pool)).toEqual([]);
  });
});

describe("a caller that hangs up in the middle", () => {
  it("does not stop the work, and the repeat gets its answer", async () => {
    const begun = Promise.withResolvers<void>();
    const hungUp = Promise.withResolvers<void>();
    app.post(
      "/orders",
      idempotent(service.dure, options, async ({ tx }) => {
        begun.resolve();
        await hungUp.promise;
        await tx.query("insert into orders (item) values ('tea')");
        return { status: 201, body: { id: 1 } };
      }),
    );
    const address = await app.listen({ host: "127.0.0.1", port: 0 });
    const caller = httpRequest(`${address}/orders`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "k" },
    });
    caller.on("error", () => {});
    app.server.once("connection", (socket) => socket.once("close", () => hungUp.resolve()));
    caller.end('{"item":"tea"}');
    await begun.promise;
    caller.destroy();
    await hungUp.promise;
    const again = await app.inject(send("tea", "k"));
    expect([again.statusCode, again.body, again.headers["idempotent-replayed"]]).toEqual([
      201,
      '{"id":1}',
      "true",
    ]);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });
});
