/** A request with a key is carried out once: key, writes, events and answer commit together, and a repeat gets that answer (laws H2, H4, H5). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../../src/http/fetch/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import {
  byTenant,
  countOf,
  createOrderDatabase,
  itemsOf,
  order,
  orderRoute,
} from "./keyed-orders.ts";
import { createTestService, stepTaken, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;

beforeEach(async () => {
  database = await createOrderDatabase("keys");
  service = createTestService({ pool: database.pool, relay: false });
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

const key = (value: string) => ({ "idempotency-key": value });
const problemOf = async (response: Response): Promise<unknown> => {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const { status, code } = (await response.json()) as { status: number; code: string };
  expect(status).toBe(response.status);
  return [status, code];
};

describe("a repeat", () => {
  it("gets status, allow-listed headers and bytes of the first, and has no effect", async () => {
    const post = orderRoute(service.dure);
    const first = await post(order("tea", key("k")));
    const again = await post(order("tea", key('"k"')));
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(await again.text()).toBe(await first.text());
    expect(again.headers.get("location")).toBe(first.headers.get("location"));
    expect(again.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect([first, again].map(({ headers }) => headers.get("idempotent-replayed"))).toEqual([
      null,
      "true",
    ]);
    expect([first, again].map(({ headers }) => headers.get("x-fresh"))).toEqual(["1", null]);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
    expect(await countOf(database.pool, "dure.outbox_message")).toBe(1);
  });

  it("is the same request whatever the order of its members, and another with any other content", async () => {
    const post = orderRoute(service.dure);
    const body = (text: string) =>
      new Request("http://shop.test/orders", {
        method: "POST",
        headers: { "content-type": "application/json", ...key("k") },
        body: text,
      });
    expect((await post(body('{"item":"tea","n":1}'))).status).toBe(201);
    expect((await post(body('{ "n": 1.0, "item": "tea" }'))).status).toBe(201);
    expect((await post(body('{"item":"tea","n":2}'))).status).toBe(422);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("of bytes and of an empty answer gets them as they were", async () => {
    const bytes = Uint8Array.from([0, 255, 10, 128]);
    const reply = idempotent(service.dure, byTenant, async ({ request }) =>
      request.url.endsWith("/empty")
        ? { status: 204 }
        : new Response(bytes, { status: 200, headers: { "content-type": "image/x-dots" } }),
    );
    for (const path of ["/dots", "/empty"]) {
      const [first, again] = [
        await reply(order("tea", key(path), path)),
        await reply(order("tea", key(path), path)),
      ];
      expect(await again.bytes()).toEqual(await first.bytes());
      expect(again.headers.get("idempotent-replayed")).toBe("true");
      expect(again.headers.get("content-type")).toBe(path === "/dots" ? "image/x-dots" : null);
    }
  });

  it("after the record's time is a new request", async () => {
    const post = orderRoute(service.dure);
    await post(order("tea", key("k")));
    await database.pool.query("update dure.idempotency_record set expires_at = clock_timestamp()");
    expect((await post(order("milk", key("k")))).status).toBe(201);
    expect((await post(order("milk", key("k")))).headers.get("idempotent-replayed")).toBe("true");
    expect(await itemsOf(database.pool)).toEqual(["tea", "milk"]);
  });
});

describe("a key", () => {
  it("that came with another payload, query, route or method is refused with 422", async () => {
    const post = orderRoute(service.dure);
    await post(order("tea", key("k")));
    const others = [
      order("milk", key("k")),
      order("tea", key("k"), "/orders?fast=1"),
      order("tea", key("k"), "/returns"),
      new Request(order("tea", key("k")), { method: "PUT" }),
    ];
    for (const other of others) {
      expect(await problemOf(await post(other))).toEqual([422, "IDEMPOTENCY_KEY_REUSED"]);
    }
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("of another principal is another key", async () => {
    const post = orderRoute(service.dure);
    const first = await post(order("tea", { ...key("k"), tenant: "a" }));
    const other = await post(order("tea", { ...key("k"), tenant: "b" }));
    expect(other.headers.get("idempotent-replayed")).toBeNull();
    expect(await other.text()).not.toBe(await first.text());
    expect(await itemsOf(database.pool)).toEqual(["tea", "tea"]);
  });

  it("that is missing, malformed, too long or contradicted is refused with 400", async () => {
    const post = orderRoute(service.dure);
    const refused = async (headers: Record<string, string>) =>
      problemOf(await post(order("tea", headers)));
    expect(await refused({})).toEqual([400, "IDEMPOTENCY_KEY_MISSING"]);
    const invalid = [400, "IDEMPOTENCY_KEY_INVALID"];
    expect(await refused(key(""))).toEqual(invalid);
    expect(await refused(key('""'))).toEqual(invalid);
    expect(await refused(key('"open'))).toEqual(invalid);
    expect(await refused(key('"a\\b"'))).toEqual(invalid);
    expect(await refused(key("caf\u00e9"))).toEqual(invalid);
    expect(await refused(key("x".repeat(256)))).toEqual(invalid);
    expect(await refused({ ...key("a"), "x-idempotency-key": "b" })).toEqual(invalid);
    expect(await itemsOf(database.pool)).toEqual([]);
    const same = await post(order("tea", { ...key('"a"'), "x-idempotency-key": "a" }));
    expect(same.status).toBe(201);
    expect(
      (await post(order("tea", { "x-idempotency-key": "a" }))).headers.get("idempotent-replayed"),
    ).toBe("true");
    expect((await post(order("tea", key(`"${"x".repeat(255)}"`)))).status).toBe(201);
  });

  it("that need not be there and is not lets the request be carried out each time", async () => {
    const post = orderRoute(service.dure, { required: false });
    expect([(await post(order("tea"))).status, (await post(order("tea"))).status]).toEqual([
      201, 201,
    ]);
    expect(await itemsOf(database.pool)).toEqual(["tea", "tea"]);
    expect(await countOf(database.pool, "dure.idempotency_record")).toBe(0);
  });
});

describe("an answer", () => {
  it("that refuses is stored, and its writes and events are taken back", async () => {
    const post = idempotent(service.dure, byTenant, async ({ tx, request }) => {
      await tx.query("insert into orders (item) values ('undone')");
      tx.emit(stepTaken, { key: "undone", n: 1 });
      // A statement that fails belongs to the refusal too.
      if (request.url.endsWith("/broken")) await tx.query("select 1 / 0").catch(() => undefined);
      return { status: 422, body: { tries: await countOf(database.pool, "orders") } };
    });
    for (const path of ["/orders", "/broken"]) {
      const first = await post(order("tea", key(path), path));
      await database.pool.query("insert into orders (item) values ('between')");
      const again = await post(order("tea", key(path), path));
      expect([first.status, again.status]).toEqual([422, 422]);
      expect(await again.text()).toBe(await first.text());
      expect(again.headers.get("idempotent-replayed")).toBe("true");
    }
    expect(await itemsOf(database.pool)).toEqual(["between", "between"]);
    expect(await countOf(database.pool, "dure.outbox_message")).toBe(0);
  });

  it.each([500, 503, 429, 409])(
    "of status %i is not stored, and nothing else is",
    async (status) => {
      let count = 0;
      const post = idempotent(service.dure, byTenant, async ({ tx }) => {
        count += 1;
        await tx.query("insert into orders (item) values ('tried')");
        return { status: count === 1 ? status : 201, body: { count } };
      });
      expect((await post(order("tea", key("k")))).status).toBe(status);
      expect(await itemsOf(database.pool)).toEqual([]);
      const second = await post(order("tea", key("k")));
      expect([second.status, await second.json()]).toEqual([201, { count: 2 }]);
      expect(await itemsOf(database.pool)).toEqual(["tried"]);
    },
  );

  it("that is an error leaves nothing and frees the key", async () => {
    let count = 0;
    const post = orderRoute(service.dure, {}, () => {
      count += 1;
      return count === 1 ? Promise.reject(new Error("no luck")) : Promise.resolve();
    });
    await expect(post(order("tea", key("k")))).rejects.toThrow("no luck");
    expect((await post(order("tea", key("k")))).status).toBe(201);
  });

  it("that cannot be stored is an error that says so, and nothing is committed", async () => {
    const answers = [
      () => ({ status: 200, body: "x".repeat(1_001) }),
      () => ({ status: 200, body: new Blob(["x".repeat(1_001)]).stream() }),
      () => new Response("x".repeat(1_001)),
      () => ({ status: 101 }),
      () => ({ status: 200, body: { big: 1n } }),
      () => Response.error(),
    ];
    for (const [at, answer] of answers.entries()) {
      const post = idempotent(
        service.dure,
        { ...byTenant, answerBytesMax: 1_000 },
        async ({ tx }) => {
          await tx.query("insert into orders (item) values ('lost')");
          return answer();
        },
      );
      await expect(post(order("tea", key(`k${at}`)))).rejects.toMatchObject({
        code: "ANSWER_NOT_STORABLE",
      });
    }
    expect(await itemsOf(database.pool)).toEqual([]);
    expect(await countOf(database.pool, "dure.idempotency_record")).toBe(0);
  });
});

describe("a body", () => {
  it("that is larger than allowed is refused, however it is sent", async () => {
    const post = orderRoute(service.dure, { bodyBytesMax: 100 });
    expect(await problemOf(await post(order("x".repeat(200), key("k"))))).toEqual([
      413,
      "PAYLOAD_TOO_LARGE",
    ]);
  });

  it("that is nested too deep is refused", async () => {
    const post = orderRoute(service.dure);
    const request = new Request("http://shop.test/orders", {
      method: "POST",
      headers: { "content-type": "application/json", ...key("k") },
      body: `${"[".repeat(5_000)}${"]".repeat(5_000)}`,
    });
    expect(await problemOf(await post(request))).toEqual([400, "VALIDATION_FAILED"]);
  });
});

describe("records", () => {
  it("whose time is over are removed by maintenance, and the others stay", async () => {
    await service.dure.start();
    const post = orderRoute(service.dure);
    await post(order("old", key("old")));
    await post(order("new", key("new")));
    await database.pool.query(
      "update dure.idempotency_record set expires_at = clock_timestamp() - interval '1 s' where key = 'old'",
    );
    await service.stop();
    service = createTestService({ pool: database.pool, relay: false });
    await service.dure.start();
    await expect.poll(() => countOf(database.pool, "dure.idempotency_record")).toBe(1);
    expect((await post(order("new", key("new")))).headers.get("idempotent-replayed")).toBe("true");
  });
});
