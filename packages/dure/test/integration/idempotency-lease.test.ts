/** A key is free or done, and never stuck longer than its lease: slow owners, frozen ones, lost COMMITs (law H3). */
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../../src/http/fetch/index.ts";
import { type TcpProxy, tcpProxy } from "../../../../tools/servers/tcp-proxy.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  byTenant,
  countOf,
  createOrderDatabase,
  itemsOf,
  order,
  orderRoute,
} from "./keyed-orders.ts";
import { createTestService, type TestService } from "./service-fixture.ts";

let database: TestDatabase;
let proxy: TcpProxy;
let pool: pg.Pool;
let service: TestService;
let other: TestService;
let beforeCommit: (() => void) | undefined;

beforeEach(async () => {
  database = await createOrderDatabase("keys lease");
  proxy = await tcpProxy(database.url);
  pool = new pg.Pool({ connectionString: proxy.url, max: 10, connectionTimeoutMillis: 2_000 });
  pool.on("error", () => {});
  beforeCommit = undefined;
  const faults = {
    hit(point: string) {
      if (point === "transaction.before-commit") beforeCommit?.();
    },
  };
  service = createTestService({ pool, relay: false, faults });
  other = createTestService({ pool: database.pool, relay: false });
});
afterEach(async () => {
  proxy.resume();
  await service.stop();
  await other.stop();
  await pool.end();
  await proxy[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const key = { "idempotency-key": "k" };
const leaseMs = 700;

describe("an owner that is slower than its lease", () => {
  it("never commits, its late statements go nowhere, and another takes the key", async () => {
    const overslept = Promise.withResolvers<void>();
    const late = Promise.withResolvers<unknown>();
    let isSignaled = false;
    const slow = idempotent(service.dure, { ...byTenant, leaseMs }, async ({ tx, signal }) => {
      signal.addEventListener("abort", () => (isSignaled = true));
      await tx.query("insert into orders (item) values ('slow')");
      await overslept.promise;
      const insert = "insert into orders (item) values ('late')";
      const both = [() => tx.query(insert), () => tx.client.query(insert)];
      late.resolve(await Promise.allSettled(both.map(async (run) => run())));
      return { status: 201 };
    });
    const first = slow(order("tea", key));
    await expect(first).rejects.toMatchObject({ code: "TRANSACTION_TIMED_OUT" });
    const second = await orderRoute(other.dure, { waitMsMax: 10_000 })(order("tea", key));
    expect([second.status, second.headers.get("idempotent-replayed")]).toEqual([201, null]);
    overslept.resolve();
    expect(await late.promise).toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
    expect(isSignaled).toBe(true);
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("is ended by the server though its own process is frozen to the world", async () => {
    const begun = Promise.withResolvers<void>();
    const thawed = Promise.withResolvers<void>();
    const post = idempotent(service.dure, { ...byTenant, leaseMs }, async ({ tx }) => {
      await tx.query("insert into orders (item) values ('frozen')");
      // Nothing of this side reaches the server any more: not even that the connection was closed.
      proxy.blackHole();
      begun.resolve();
      await thawed.promise;
      return { status: 201 };
    });
    const first = post(order("tea", key));
    first.catch(() => undefined);
    await begun.promise;
    const second = await orderRoute(other.dure, { waitMsMax: 10_000 })(order("tea", key));
    expect(second.status).toBe(201);
    proxy.resume();
    thawed.resolve();
    await expect(first).rejects.toMatchObject({ code: "TRANSACTION_TIMED_OUT" });
    expect(await itemsOf(database.pool)).toEqual(["tea"]);
  });

  it("is ended by the server in the middle of a statement", async () => {
    const post = idempotent(other.dure, { ...byTenant, leaseMs }, async ({ tx }) => {
      await tx.query("insert into orders (item) values ('slow')");
      await tx.query("select pg_sleep(60)");
      return { status: 201 };
    });
    await expect(post(order("tea", key))).rejects.toMatchObject({ code: "TRANSACTION_TIMED_OUT" });
    await waitFor(
      async () =>
        (await countOf(
          database.pool,
          "pg_stat_activity where query like '%pg_sleep(60)' and state = 'active'",
        )) === 0,
      { what: "the statement's end" },
    );
    expect((await orderRoute(other.dure)(order("tea", key))).status).toBe(201);
  });
});

describe("the limit of a transaction", () => {
  const limits = async (isWhole: boolean, given = ""): Promise<readonly unknown[]> => {
    const client = await database.pool.connect();
    try {
      await client.query(`begin; ${given}; select dure.idempotency_bound(1500, ${isWhole})`);
      const names = [
        "transaction_timeout",
        "statement_timeout",
        "idle_in_transaction_session_timeout",
      ];
      const { rows } = await client.query<{ values: string[] }>(
        "select array(select current_setting(n) from unnest($1::text[]) n) as values",
        [names],
      );
      return rows[0]?.values ?? [];
    } finally {
      await client.query("rollback");
      client.release();
    }
  };

  it("is the whole's, or before PostgreSQL 17 that of each statement and pause; what is tighter stays", async () => {
    expect(await limits(true)).toEqual(["1500ms", "0", "0"]);
    expect(await limits(false)).toEqual(["0", "1500ms", "1500ms"]);
    expect(await limits(true, "set local transaction_timeout = '1s'")).toEqual(["1s", "0", "0"]);
    expect(await limits(true, "set local transaction_timeout = '1min'")).toEqual([
      "1500ms",
      "0",
      "0",
    ]);
    expect(await limits(false, "set local statement_timeout = 100")).toEqual([
      "0",
      "100ms",
      "1500ms",
    ]);
  });

  it("stands behind the clock: an answer that comes after the lease is not recorded", async () => {
    const client = await database.pool.connect();
    try {
      await client.query("begin");
      await client.query("select pg_sleep(0.05)");
      const id = "0".repeat(32);
      await expect(
        client.query(
          "select dure.idempotency_keep($1, $1, 's', 'k', 'r', 200::smallint, '[]', '', 1000, 10)",
          [id],
        ),
      ).rejects.toMatchObject({ code: "DU005" });
    } finally {
      await client.query("rollback");
      client.release();
    }
  });
});

describe("a COMMIT whose answer is lost", () => {
  it("is found in the record, and the work is not run again", async () => {
    let count = 0;
    const post = orderRoute(service.dure, {}, () => {
      count += 1;
      return Promise.resolve();
    });
    beforeCommit = () => proxy.blackHole("toClient");
    const first = post(order("tea", key));
    await waitFor(async () => (await countOf(database.pool, "orders")) === 1, {
      what: "the commit",
    });
    beforeCommit = undefined;
    proxy.cut();
    proxy.resume();
    const answer = await first;
    expect([answer.status, answer.headers.get("idempotent-replayed")]).toEqual([201, "true"]);
    expect(await answer.json()).toEqual({ id: "1", item: "tea" });
    expect([count, await itemsOf(database.pool)]).toEqual([1, ["tea"]]);
  });

  it("and that did not come through is an error that says that nothing was committed", async () => {
    beforeCommit = () => proxy.blackHole("toServer");
    const first = orderRoute(service.dure, { leaseMs: 5_000 })(order("tea", key));
    first.catch(() => undefined);
    await waitFor(() => proxy.connectionCount() > 0, { what: "a connection" });
    await waitFor(
      async () =>
        (await countOf(
          database.pool,
          "pg_stat_activity where state = 'idle in transaction' and query like 'insert into orders%'",
        )) === 1,
      { what: "a COMMIT that does not come" },
    );
    beforeCommit = undefined;
    proxy.cut();
    proxy.resume();
    await expect(first).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    expect(await itemsOf(database.pool)).toEqual([]);
    const again = await orderRoute(service.dure)(order("tea", key));
    expect([again.status, again.headers.get("idempotent-replayed")]).toEqual([201, null]);
  });

  it("is given up at the lease where the network stays silent, and still found in the record", async () => {
    beforeCommit = () => proxy.abandon();
    const first = orderRoute(service.dure, { leaseMs })(order("tea", key));
    await expect(first).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    beforeCommit = undefined;
    expect(await itemsOf(database.pool)).toEqual([]);
    expect((await orderRoute(service.dure)(order("tea", key))).status).toBe(201);
  });
});
