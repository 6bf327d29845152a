/** Many requests with one key have one effect and one answer, over processes too; DURE_KEY_ROUNDS=1000 for the long form (law H1). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../../src/http/fetch/index.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import type { KeyedAnswers } from "./keyed-child.ts";
import {
  byTenant,
  countOf,
  createOrderDatabase,
  itemsOf,
  order,
  orderRoute,
} from "./keyed-orders.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

const rounds = Number(process.env["DURE_KEY_ROUNDS"] ?? 15);

let database: TestDatabase;

beforeEach(async () => {
  database = await createOrderDatabase("keys race", 40);
});
afterEach(() => database[Symbol.asyncDispose]());

const key = (value: string) => ({ "idempotency-key": value });

async function answersOf(child: SpawnedChild, wanted: string): Promise<KeyedAnswers> {
  const isIt = (message: unknown): message is KeyedAnswers & Record<"key", string> =>
    hasField("key")(message) && message.key === wanted;
  return child.waitForMessage(isIt, { timeoutMs: 60_000 });
}

describe("200 requests at once with one key, over two processes", { timeout: 3_600_000 }, () => {
  it("have one effect and one answer, in each round", async () => {
    const module = new URL("./keyed-child.ts", import.meta.url);
    const options = { env: { DURE_CHILD_URL: database.url }, lifeMsMax: 3_600_000 };
    await using one = spawnChild(module, options);
    await using two = spawnChild(module, options);
    const children = [one, two];
    await Promise.all(children.map((child) => child.waitForMessage(hasField("event"))));
    for (let round = 1; round <= rounds; round += 1) {
      for (const child of children) child.send(`round-${round} 100`);
      const said = await Promise.all(children.map((child) => answersOf(child, `round-${round}`)));
      const answers = new Set(said.flatMap((each) => Object.keys(each.answers)));
      expect(answers.size, `round ${round}: ${[...answers].join(" | ")}`).toBe(1);
      const fresh = said.reduce((sum, each) => sum + each.fresh, 0);
      expect(fresh, `round ${round}`).toBe(1);
      expect(said.map((each) => Object.values(each.answers))).toEqual([[100], [100]]);
    }
    expect(await countOf(database.pool, "orders")).toBe(rounds);
    expect(await countOf(database.pool, "dure.outbox_message")).toBe(rounds);
  });
});

describe("many services, two payloads, one key", { timeout: 600_000 }, () => {
  it("one payload wins and is answered alike, the other is refused by 422, and nobody else is", async () => {
    await using stack = new AsyncDisposableStack();
    // Each has its own memory of what is under way, so that they meet in the database, as processes do.
    const routes = Array.from({ length: 10 }, () => {
      const service = stack.use(createTestService({ pool: database.pool, relay: false }));
      return orderRoute(service.dure, { waitMsMax: 60_000 });
    });
    for (let round = 1; round <= rounds * 2; round += 1) {
      const responses = await Promise.all(
        routes.flatMap((post) =>
          ["tea", "milk"].map((item) => post(order(item, key(`round-${round}`)))),
        ),
      );
      const [item] = (await itemsOf(database.pool)).slice(-1);
      const texts = await Promise.all(
        responses.map(async (response, at) => {
          const sent = at % 2 === 0 ? "tea" : "milk";
          const wanted = sent === item ? 201 : 422;
          expect(response.status, `round ${round}: ${sent}, won by ${item}`).toBe(wanted);
          return response.status === 201 ? response.text() : "refused";
        }),
      );
      expect(new Set(texts).size).toBe(2);
      expect(await countOf(database.pool, "orders")).toBe(round);
    }
  });

  it("a request that comes to nothing lets the next in line try, here and elsewhere", async () => {
    await using one = createTestService({ pool: database.pool, relay: false });
    await using two = createTestService({ pool: database.pool, relay: false });
    let tries = 0;
    const fail = (): Promise<void> => {
      tries += 1;
      return tries % 4 === 0 ? Promise.resolve() : Promise.reject(new Error("no luck"));
    };
    const routes = [one, two].map(({ dure }) => orderRoute(dure, { waitMsMax: 60_000 }, fail));
    const settled = await Promise.allSettled(
      routes.flatMap((post) => Array.from({ length: 20 }, () => post(order("tea", key("k"))))),
    );
    expect(settled.filter(({ status }) => status === "rejected")).toHaveLength(3);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
    expect(tries).toBe(4);
  });
});

describe("while the first runs", () => {
  let service: TestService;
  let other: TestService;
  let begun: PromiseWithResolvers<void>;
  let mayEnd: PromiseWithResolvers<void>;

  beforeEach(() => {
    service = createTestService({ pool: database.pool, relay: false });
    other = createTestService({ pool: database.pool, relay: false });
    begun = Promise.withResolvers();
    mayEnd = Promise.withResolvers();
  });
  afterEach(async () => {
    mayEnd.resolve();
    await service.stop();
    await other.stop();
  });

  const hold = async (): Promise<void> => {
    begun.resolve();
    await mayEnd.promise;
  };
  const inProgress = async (response: Response): Promise<void> => {
    expect(response.status).toBe(409);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(await response.json()).toMatchObject({ code: "IDEMPOTENCY_IN_PROGRESS" });
  };

  it("a duplicate of a route that does not wait gets 409 with Retry-After at once, wherever it comes", async () => {
    const first = orderRoute(service.dure, {}, hold)(order("tea", key("k")));
    await begun.promise;
    for (const { dure } of [service, other]) {
      await inProgress(await orderRoute(dure, { waitMsMax: 0 })(order("tea", key("k"))));
    }
    mayEnd.resolve();
    expect((await first).status).toBe(201);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("a duplicate that waits holds no connection, and gives up at its bound or when its caller leaves", async () => {
    const first = orderRoute(service.dure, {}, hold)(order("tea", key("k")));
    await begun.promise;
    const leaving = new AbortController();
    const left = [service, other].map(({ dure }) =>
      orderRoute(dure, { waitMsMax: 60_000 })(
        new Request(order("tea", key("k")), { signal: leaving.signal }),
      ),
    );
    const bounded = Array.from({ length: 60 }, (_, at) =>
      orderRoute((at % 2 === 0 ? service : other).dure, { waitMsMax: 300 })(order("tea", key("k"))),
    );
    // The running request has one, and each process at most one to look with.
    await waitFor(() => database.pool.totalCount - database.pool.idleCount <= 3, {
      what: "connections to be given back",
    });
    for (const response of await Promise.all(bounded)) await inProgress(response);
    leaving.abort();
    for (const response of await Promise.all(left)) await inProgress(response);
    mayEnd.resolve();
    expect((await first).status).toBe(201);
  });

  it("another payload is refused by 422 and never told to wait, here and elsewhere", async () => {
    const first = orderRoute(service.dure, {}, hold)(order("tea", key("k")));
    await begun.promise;
    for (const { dure } of [service, other]) {
      for (const waitMsMax of [0, 60_000]) {
        const response = await orderRoute(dure, { waitMsMax })(order("milk", key("k")));
        expect(response.status).toBe(422);
      }
    }
    mayEnd.resolve();
    expect((await first).status).toBe(201);
  });

  it("the same key of another principal is not held up", async () => {
    const first = orderRoute(service.dure, {}, hold)(order("tea", { ...key("k"), tenant: "a" }));
    await begun.promise;
    const second = await orderRoute(service.dure)(order("tea", { ...key("k"), tenant: "b" }));
    expect(second.status).toBe(201);
    mayEnd.resolve();
    await first;
  });

  it("a caller that hangs up does not stop the work, and the repeat gets its answer", async () => {
    const hangingUp = new AbortController();
    const post = idempotent(service.dure, byTenant, async ({ request, tx, signal }) => {
      await hold();
      expect([request.signal.aborted, signal.aborted]).toEqual([false, false]);
      await tx.query("insert into orders (item) values ('tea')");
      return { status: 201, body: { id: 1 } };
    });
    const first = post(new Request(order("tea", key("k")), { signal: hangingUp.signal }));
    await begun.promise;
    hangingUp.abort();
    mayEnd.resolve();
    await first;
    const again = await post(order("tea", key("k")));
    expect([await again.json(), again.headers.get("idempotent-replayed")]).toEqual([
      { id: 1 },
      "true",
    ]);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });
});
