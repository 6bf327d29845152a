/** Rows of the user's own tables change only from where they were believed to be, whoever else is at them (product B4). */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VersionConflictError } from "../../src/isolation/index.ts";
import type { TransactionHandle } from "../../src/index.ts";
import { postgresGuardedTable, withOptimisticRetry } from "../../src/postgres/index.ts";
import { readThenWrite } from "../naive/read-then-write.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { countKinds, inTransaction, meeting } from "./isolation-fixture.ts";

let database: TestDatabase;

const orders = postgresGuardedTable({
  table: "Order",
  tableSchema: "shop",
  idColumn: "order id",
  versionColumn: "version",
  statuses: ["PENDING", "PAID", "CANCELLED", "SHIPPED"],
  columns: ["note", "paid_by"],
});
const products = postgresGuardedTable({
  table: "product",
  versionColumn: "version",
  columns: ["amount", "price", "details", "seen_at"],
});

beforeAll(async () => {
  database = await createTestDatabase({ name: "guarded_table", poolSizeMax: 16 });
  // Names that need quotes, an enum and a uuid: what users have.
  await database.pool.query(
    `create schema shop;
     create type shop.order_status as enum ('PENDING', 'PAID', 'CANCELLED', 'SHIPPED');
     create table shop."Order" (
       "order id" uuid primary key default gen_random_uuid(), status shop.order_status not null default 'PENDING',
       version integer not null default 1, note text, paid_by text
     );
     create table product (
       id bigint primary key, amount integer not null default 0, price numeric(10, 2) not null default 1,
       details jsonb not null default '{}', seen_at timestamptz, version bigint not null default 1
     )`,
  );
});
afterAll(() => database?.[Symbol.asyncDispose]());

const run = <Result>(work: (tx: TransactionHandle) => Promise<Result>) =>
  inTransaction(database.pool, work);

async function newOrder(status = "PENDING"): Promise<string> {
  const { rows } = await database.pool.query<{ id: string }>(
    `insert into shop."Order" (status) values ($1) returning "order id" as id`,
    [status],
  );
  return rows[0]?.id ?? "";
}

let productCount = 0;
async function newProduct(): Promise<string> {
  productCount += 1;
  await database.pool.query("insert into product (id) values ($1)", [productCount]);
  return String(productCount);
}

/** Keeps the row locked in a transaction of its own until it is told to end it, after `then`. */
async function holdProduct(id: string, then?: string): Promise<() => Promise<void>> {
  const [held, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holding = run(async (tx) => {
    await tx.query("select from product where id = $1 for update", [id]);
    held.resolve();
    await finish.promise;
    if (then !== undefined) await tx.query(then, [id]);
  });
  await held.promise;
  return async () => {
    finish.resolve();
    await holding;
  };
}

const someoneWaits = async () =>
  (
    await database.pool.query(
      "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
  ).rowCount === 1;

describe("a guarded transition", () => {
  it("moves a row from the states it names, with what goes along, and says where it is otherwise", async () => {
    const id = await newOrder();
    const pay = (tx: TransactionHandle) =>
      orders.transition(tx, { id, from: ["PENDING"], to: "PAID", set: { paid_by: "ada" } });
    expect(await run(pay)).toEqual({ kind: "moved", version: 2 });
    expect(await run(pay)).toEqual({ kind: "illegal", status: "PAID", version: 2 });
    const nowhere = { id: "00000000-0000-0000-0000-000000000000", to: "PAID" } as const;
    expect(await run((tx) => orders.transition(tx, { ...nowhere, from: ["PENDING"] }))).toEqual({
      kind: "not-found",
    });
    const { rows } = await database.pool.query(
      `select status, paid_by, note, version from shop."Order" where "order id" = $1`,
      [id],
    );
    expect(rows).toEqual([{ status: "PAID", paid_by: "ada", note: null, version: 2 }]);
  });

  it("with a version moves what was seen and nothing newer", async () => {
    const id = await newOrder();
    await run((tx) =>
      orders.updateVersioned(tx, { id, version: 1, set: { note: "gift, with a card" } }),
    );
    const move = { id, from: ["PENDING"], to: "PAID" } as const;
    expect(await run((tx) => orders.transition(tx, { ...move, version: 1 }))).toMatchObject({
      kind: "version-conflict",
      id,
      expectedVersion: 1,
      currentVersion: 2,
    });
    expect(await run((tx) => orders.transition(tx, { ...move, version: 2 }))).toEqual({
      kind: "moved",
      version: 3,
    });
  });

  it("of three hundred at the same time, half to PAID and half to CANCELLED, happens for one", async () => {
    const id = await newOrder();
    const outcomes = await Promise.all(
      Array.from({ length: 300 }, (_, n) =>
        run((tx) =>
          orders.transition(tx, {
            id,
            from: ["PENDING"],
            to: n % 2 === 0 ? "PAID" : "CANCELLED",
            set: { note: `by ${n}` },
          }),
        ),
      ),
    );
    expect(countKinds(outcomes)).toEqual({ moved: 1, illegal: 299 });
    const winner = outcomes.findIndex(({ kind }) => kind === "moved");
    const status = winner % 2 === 0 ? "PAID" : "CANCELLED";
    const losers = outcomes.filter((_, n) => n !== winner);
    expect(new Set(losers.map((each) => JSON.stringify(each))).size).toBe(1);
    expect(losers[0]).toEqual({ kind: "illegal", status, version: 2 });
  });

  it("that waited for a rival sees what he left, and not what it had seen before", async () => {
    const id = await newOrder();
    const [moved, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const first = run(async (tx) => {
      await orders.transition(tx, { id, from: ["PENDING"], to: "PAID" });
      moved.resolve();
      await finish.promise;
    });
    await moved.promise;
    const second = run((tx) => orders.transition(tx, { id, from: ["PAID"], to: "SHIPPED" }));
    await waitFor(someoneWaits, { what: "the second's wait" });
    finish.resolve();
    await first;
    expect(await second).toEqual({ kind: "moved", version: 3 });
  });

  it("refuses names that it was not made with, and hostile values are values", async () => {
    const id = await newOrder();
    const set = { 'note" = note --': 1 } as never;
    const attempts = [
      () => run((tx) => orders.transition(tx, { id, from: ["PENDING"], to: "PAID", set })),
      () => run((tx) => orders.transition(tx, { id, from: [], to: "PAID" })),
      () => Promise.resolve().then(() => postgresGuardedTable({ table: "x".repeat(64) })),
      () => {
        const bare = postgresGuardedTable({ table: "product" });
        return run((tx) => bare.updateVersioned(tx, { id: 1, version: 1, set: {} }));
      },
    ];
    for (const attempt of attempts)
      await expect(attempt()).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
    const hostile = "'); drop table product; --";
    await run((tx) =>
      orders.transition(tx, { id, from: ["PENDING"], to: "PAID", set: { note: hostile } }),
    );
    const { rows } = await database.pool.query(
      `select note from shop."Order" where "order id" = $1`,
      [id],
    );
    expect(rows).toEqual([{ note: hostile }]);
  });
});

describe("a versioned update", () => {
  /** Reads, computes, writes if nobody was quicker, else begins again. */
  const add = (id: string, attempts: number) =>
    withOptimisticRetry(
      () =>
        run(async (tx) => {
          const { rows } = await tx.query(
            "select amount, version::int from product where id = $1",
            [id],
          );
          const set = { amount: Number(rows[0]?.["amount"]) + 1 };
          const version = Number(rows[0]?.["version"]);
          const outcome = await products.updateVersioned(tx, { id, version, set });
          if (outcome.kind === "version-conflict") throw new VersionConflictError(outcome);
        }),
      { attempts, pauseMsMin: 0, pauseMsMax: 10 },
    );

  const amountOf = async (id: string) =>
    (
      await database.pool.query<{ amount: number }>("select amount from product where id = $1", [
        id,
      ])
    ).rows[0]?.amount;

  it("loses nothing of two hundred at the same time: what is not done says so", async () => {
    const id = await newProduct();
    const results = await Promise.allSettled(Array.from({ length: 200 }, () => add(id, 100)));
    const failed = results.filter(({ status }) => status === "rejected");
    for (const each of failed) expect(each).toMatchObject({ reason: { code: "VERSION_CONFLICT" } });
    expect(await amountOf(id)).toBe(200 - failed.length);
    const few = await Promise.allSettled(Array.from({ length: 100 }, () => add(id, 1)));
    const conflicts = few.filter(({ status }) => status === "rejected").length;
    expect(conflicts).toBeGreaterThan(0);
    expect(await amountOf(id)).toBe(300 - failed.length - conflicts);
  });

  it("is what the naive design lacks: of two that read and then write, one is lost without a word", async () => {
    const id = await newProduct();
    const meet = meeting(2);
    const naive = () =>
      run(async (tx) => {
        const readFirst: TransactionHandle = {
          async query(text, params) {
            if (text.startsWith("update")) await meet();
            return tx.query(text, params);
          },
        };
        await readThenWrite(readFirst, { id, add: 1 });
      });
    await Promise.all([naive(), naive()]);
    expect(await amountOf(id)).toBe(1);
    await Promise.all([add(id, 3), add(id, 3)]);
    expect(await amountOf(id)).toBe(3);
  });

  it("says that there is no such row", async () => {
    const missing = { id: 999_999, version: 1, set: { amount: 5 } };
    expect(await run((tx) => products.updateVersioned(tx, missing))).toEqual({ kind: "not-found" });
  });
});

describe("a row lock", () => {
  it("waits no longer than asked, and the transaction goes on with the time-out that it had", async () => {
    const id = await newProduct();
    const release = await holdProduct(id);
    const seen = await run(async (tx) => {
      await tx.query("set local lock_timeout = '7s'");
      const outcomes = [
        await products.lockRow(tx, { id, waitMs: 25 }),
        await products.lockRow(tx, { id, waitMs: 0 }),
      ];
      const { rows } = await tx.query("show lock_timeout");
      return { outcomes, rows };
    });
    expect(seen).toEqual({
      outcomes: [{ kind: "busy" }, { kind: "busy" }],
      rows: [{ lock_timeout: "7s" }],
    });
    await release();
    const free = await run((tx) => products.lockRow(tx, { id, waitMs: 0 }));
    expect(free).toMatchObject({ kind: "locked", row: { amount: 0, price: "1.00" } });
  });

  it("that was waited for is of the row as its holder left it", async () => {
    const id = await newProduct();
    const release = await holdProduct(id, "update product set amount = 9 where id = $1");
    const waiting = run((tx) => products.lockRow(tx, { id }));
    await waitFor(someoneWaits, { what: "the wait for the row" });
    await release();
    expect(await waiting).toMatchObject({ kind: "locked", row: { amount: 9 } });
  });

  it("finds no row that is gone, or went while it waited", async () => {
    const id = await newProduct();
    const release = await holdProduct(id, "delete from product where id = $1");
    const waiting = run((tx) => products.lockRow(tx, { id }));
    await waitFor(someoneWaits, { what: "the wait for the row" });
    await release();
    expect(await waiting).toEqual({ kind: "not-found" });
    const gone = run((tx) => products.lockRow(tx, { id, waitMs: 0 }));
    expect(await gone).toEqual({ kind: "not-found" });
  });

  it("lasts until the transaction ends, for one of a hundred at a time", async () => {
    const id = await newProduct();
    let inside = 0;
    let insideMax = 0;
    const attempts = Array.from({ length: 100 }, () =>
      run(async (tx) => {
        const { kind } = await products.lockRow(tx, { id, waitMs: 20_000 });
        inside += 1;
        insideMax = Math.max(insideMax, inside);
        await tx.query("update product set amount = amount + 1 where id = $1", [id]);
        inside -= 1;
        return { kind };
      }),
    );
    expect(countKinds(await Promise.all(attempts))).toEqual({ locked: 100 });
    expect(insideMax).toBe(1);
  });

  it("is refused outside a transaction, where it would be gone at once", async () => {
    const id = await newProduct();
    const refused = { code: "NOT_IN_TRANSACTION" };
    await expect(products.lockRow(database.pool, { id })).rejects.toMatchObject(refused);
    const before = { amount: 0 };
    await expect(products.rereadValue(database.pool, { id, before })).rejects.toMatchObject(
      refused,
    );
  });
});

describe("a value that is read again", () => {
  it("is unchanged as its own type compares it, also after a way through JSON", async () => {
    const id = await newProduct();
    const before = { price: "1.0", amount: "0", details: "{ }", seen_at: null };
    expect(await run((tx) => products.rereadValue(tx, { id, before }))).toMatchObject({
      kind: "unchanged",
      row: { price: "1.00" },
    });
  });

  it("names what has changed, with the row as it is, and stays so until the transaction ends", async () => {
    const id = await newProduct();
    await database.pool.query("update product set price = 2, seen_at = now() where id = $1", [id]);
    await run(async (tx) => {
      const before = { amount: 0, price: "1.00", seen_at: null };
      expect(await products.rereadValue(tx, { id, before })).toMatchObject({
        kind: "changed",
        changed: ["price", "seen_at"],
        row: { amount: 0, price: "2.00" },
      });
      expect(await run((rival) => products.lockRow(rival, { id, waitMs: 0 }))).toEqual({
        kind: "busy",
      });
    });
  });

  it("is of the moment after the wait: what a rival commits meanwhile is seen", async () => {
    const id = await newProduct();
    const release = await holdProduct(id, "update product set price = 3 where id = $1");
    const rereading = run((tx) => products.rereadValue(tx, { id, before: { price: "1.00" } }));
    await waitFor(someoneWaits, { what: "the wait for the row" });
    await release();
    expect(await rereading).toMatchObject({ kind: "changed", changed: ["price"] });
  });

  it("is busy or not found as its row is", async () => {
    const id = await newProduct();
    const release = await holdProduct(id);
    const request = { before: { amount: 0 }, waitMs: 10 };
    expect(await run((tx) => products.rereadValue(tx, { id, ...request }))).toEqual({
      kind: "busy",
    });
    await release();
    expect(await run((tx) => products.rereadValue(tx, { id: -1, ...request }))).toEqual({
      kind: "not-found",
    });
  });
});
