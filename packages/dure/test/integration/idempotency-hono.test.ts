/** Hono: its own responses and errors go through the wrapper, and a body that a validator has read is still the body (laws H2, H4). */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KeyedTransaction } from "../../src/index.ts";
import { idempotent, type HonoContextShape } from "../../src/http/hono/index.ts";
import { needOutside } from "../support/outside-package.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { createOrderDatabase, itemsOf, order } from "./keyed-orders.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

interface Context extends HonoContextShape {
  readonly req: HonoContextShape["req"] & { json(): Promise<{ item: string }> };
  json(body: unknown, status: number, headers?: Readonly<Record<string, string>>): Response;
  body(body: ReadableStream): Response;
}

interface HonoApp {
  use(path: string, middleware: (c: Context, next: () => Promise<void>) => Promise<void>): void;
  post(path: string, handler: (c: Context) => Promise<Response>): void;
  onError(handler: (error: Error, c: Context) => Response): void;
  request(request: Request): Promise<Response>;
}

let database: TestDatabase;
let service: TestService;
let app: HonoApp;

beforeEach(async (context) => {
  const { Hono } = await needOutside<{ readonly Hono: new () => HonoApp }>(
    context,
    "frameworks",
    "hono",
  );
  database = await createOrderDatabase("keys hono");
  service = createTestService({ pool: database.pool, relay: false });
  app = new Hono();
  // As a validator does.
  app.use("*", async (c, next) => {
    await c.req.json();
    await next();
  });
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const keyed = (
  handler: (input: {
    readonly c: Context;
    readonly tx: KeyedTransaction<pg.PoolClient>["tx"];
  }) => Promise<Response>,
) =>
  idempotent<Context, KeyedTransaction<pg.PoolClient>>(
    service.dure,
    { principal: () => "anyone", bodyBytesMax: 1_000 },
    handler,
  );
const key = { "idempotency-key": "k" };

describe("a Hono route", () => {
  it("answers once and replays what c.json made", async () => {
    app.post(
      "/orders",
      keyed(async ({ c, tx }) => {
        const { item } = await c.req.json();
        await tx.query("insert into orders (item) values ($1)", [item]);
        return c.json({ item }, 201, { location: "/orders/1" });
      }),
    );
    const [first, again] = [
      await app.request(order("tea", key)),
      await app.request(order("tea", key)),
    ];
    expect([first.status, await first.text()]).toEqual([201, '{"item":"tea"}']);
    expect([again.status, await again.text()]).toEqual([201, '{"item":"tea"}']);
    expect([again.headers.get("idempotent-replayed"), again.headers.get("location")]).toEqual([
      "true",
      "/orders/1",
    ]);
    expect((await app.request(order("milk", key))).status).toBe(422);
    expect((await app.request(order("milk"))).status).toBe(400);
    expect((await app.request(order("x".repeat(2_000), key))).status).toBe(413);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("may stream its answer, and its errors go to onError with nothing committed", async () => {
    let count = 0;
    app.post(
      "/orders",
      keyed(async ({ c, tx }) => {
        await tx.query("insert into orders (item) values ('tea')");
        count += 1;
        if (count === 1) throw new Error("no luck");
        return c.body(new Blob(["streamed"]).stream());
      }),
    );
    app.onError((error, c) => c.json({ error: error.message }, 500));
    expect(await (await app.request(order("tea", key))).json()).toEqual({ error: "no luck" });
    expect(await itemsOf(database.pool)).toEqual([]);
    expect(await (await app.request(order("tea", key))).text()).toBe("streamed");
    expect(await (await app.request(order("tea", key))).text()).toBe("streamed");
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });
});
