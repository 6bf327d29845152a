/**
 * A guarded write accepts a greater token, or the same of the same holder, and refuses all others (law L1); also in a
 * table of yours. Nothing of a refused write is there.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDure } from "../../src/index.ts";
import type { Dure } from "../../src/index.ts";
import { postgresFencedTable, postgresLockGuard, postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

let database: TestDatabase;
let dure: Dure;
const guard = postgresLockGuard();
const table = { table: "seat", columns: ["taken_by"] } as const;
const fenced = postgresFencedTable({ ...table, holderColumn: "holder" });
let resource = "";
let count = 0;

beforeAll(async () => {
  database = await createTestDatabase({ name: "lock_guard" });
  await database.pool.query(
    "create table seat (id int primary key, taken_by text, fencing_token bigint, holder text)",
  );
  dure = createDure({ service: "box", store: postgresStore({ pool: database.pool }) });
});
afterAll(async () => {
  await dure?.stop();
  await database?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  count += 1;
  resource = `report:${count}`;
  await database.pool.query("insert into seat values ($1)", [count]);
});

function accept(token: number, holder: string): Promise<void> {
  return dure.transaction((tx) => guard.assertNewest(tx, { resource, token, holder }));
}

function seat(): Promise<Record<string, unknown> | undefined> {
  const text = "select taken_by, fencing_token::int as token from seat where id = $1";
  const found = database.pool.query<Record<string, unknown>>(text, [count]);
  return found.then(({ rows }) => rows[0]);
}

describe("the library's guard", () => {
  it("takes tokens that grow, and the same again of the same holder only", async () => {
    await accept(7, "a");
    await accept(7, "a");
    await expect(accept(7, "b")).rejects.toMatchObject({ code: "FENCED" });
    await expect(accept(6, "a")).rejects.toMatchObject({ code: "FENCED" });
    await accept(8, "b");
    await expect(accept(7, "a")).rejects.toMatchObject({ code: "FENCED" });
  });

  it("rolls back what was written beside it", async () => {
    await accept(7, "a");
    const late = dure.transaction(async (tx) => {
      await tx.query("update seat set taken_by = 'late' where id = $1", [count]);
      await guard.assertNewest(tx, { resource, token: 6, holder: "z" });
    });
    await expect(late).rejects.toMatchObject({ code: "FENCED" });
    expect(await seat()).toMatchObject({ taken_by: null });
  });

  it("keeps a later holder waiting until the transaction of the one before has ended", async () => {
    let later: Promise<void> | undefined;
    const order: string[] = [];
    await dure.transaction(async (tx) => {
      await guard.assertNewest(tx, { resource, token: 1, holder: "a" });
      later = accept(2, "b").then(() => void order.push("b"));
      await waitFor(
        async () => {
          const { rows } = await database.pool.query(
            "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%lock.guard%'",
          );
          return rows.length > 0;
        },
        { what: "the later holder" },
      );
      order.push("a");
    });
    await later;
    expect(order).toEqual(["a", "b"]);
  });

  it("is refused outside a transaction, and where the claim is none", async () => {
    const claim = { resource, token: 1, holder: "a" };
    await expect(guard.assertNewest(database.pool, claim)).rejects.toMatchObject({
      code: "NOT_IN_TRANSACTION",
    });
    for (const wrong of [{ token: 0 }, { token: 1.5 }, { holder: "" }, { resource: "" }]) {
      const write = dure.transaction((tx) => guard.assertNewest(tx, { ...claim, ...wrong }));
      await expect(write).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
    }
  });
});

describe("a fenced row", () => {
  const update = (token: number, holder: string, taken_by: string) =>
    dure.transaction((tx) => fenced.update(tx, { id: count, token, holder, set: { taken_by } }));

  it("takes tokens that grow, and the same again of the same holder only", async () => {
    expect(await update(7, "a", "ann")).toEqual({ kind: "updated" });
    expect(await update(7, "a", "ann again")).toEqual({ kind: "updated" });
    await expect(update(7, "b", "bob")).rejects.toMatchObject({ code: "FENCED" });
    await expect(update(6, "a", "old ann")).rejects.toMatchObject({ code: "FENCED" });
    expect(await seat()).toEqual({ taken_by: "ann again", token: 7 });
    expect(await update(8, "b", "bob")).toEqual({ kind: "updated" });
    expect(await seat()).toEqual({ taken_by: "bob", token: 8 });
  });

  it("says when there is no such row, and knows no column that it was not told", async () => {
    const write = { token: 1, holder: "a" };
    const missing = dure.transaction((tx) => fenced.update(tx, { ...write, id: 999_999, set: {} }));
    expect(await missing).toEqual({ kind: "not-found" });
    const unknown = { id: 1 } as never;
    const wrong = dure.transaction((tx) =>
      fenced.update(tx, { ...write, id: count, set: unknown }),
    );
    await expect(wrong).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  });

  it("without a column for the holder compares the tokens alone", async () => {
    const plain = postgresFencedTable(table);
    const write = (token: number) =>
      dure.transaction((tx) =>
        plain.update(tx, { id: count, token, holder: "x", set: { taken_by: `${token}` } }),
      );
    await write(5);
    await write(5);
    await expect(write(4)).rejects.toMatchObject({ code: "FENCED" });
    expect(await seat()).toMatchObject({ taken_by: "5" });
  });
});
