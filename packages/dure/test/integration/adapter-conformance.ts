/** What holds of an event through any client's transaction: what every adapter's test runs. */
import pg from "pg";
import { expect, it } from "vitest";
import { z } from "zod";
import { createDure, event, saga } from "../../src/index.ts";
import type { Dure, StandardSchema, TransactionHandle } from "../../src/index.ts";
import {
  postgresGuardedTable,
  postgresParticipantBarrier,
  postgresSemanticLocks,
  postgresStore,
} from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";

interface Order {
  readonly id: string;
  readonly note: string;
}

const schema: StandardSchema<Order> = {
  "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as Order }) },
};
export const OrderPlaced = event("order.placed", { version: 1, schema, key: (order) => order.id });

const Delivery = saga("delivery", { version: 1, input: z.object({ id: z.string() }) })
  .step("send", { run: async () => undefined, compensate: async () => undefined })
  .output(() => undefined);

/** Writes a business row with the client's own means. */
type InsertRow = (id: string) => PromiseLike<unknown>;
export type Work = (tx: TransactionHandle, insertRow: InsertRow) => Promise<unknown>;

/** Runs the work in one transaction as a user of that client does. */
export type Way = (work: Work) => Promise<unknown>;

/** A service that writes through handles alone; its store's own pool is never asked. */
export function createHandleService(): Dure<pg.PoolClient> {
  const unused = new pg.Pool({ max: 1, connectionString: "postgres://nowhere.invalid/none" });
  const store = postgresStore({ pool: unused });
  return createDure({ service: "order", store, sagas: { definitions: [Delivery] } });
}

/** Creates the table that {@link InsertRow} writes to. */
export async function createBusinessTable({ pool }: TestDatabase): Promise<void> {
  await pool.query("create table business (id text primary key)");
}

const awkward = `quote ' " \\ $1 ? ?? :name {} \u2028 한국어 🧾`;

export async function eventsOf(
  { pool }: TestDatabase,
  key: string,
): Promise<readonly { data: string; xid: string }[]> {
  const { rows } = await pool.query<{ data: string; xid: string }>(
    "select data, xmin::text as xid from dure.outbox_message where key = $1 order by position",
    [key],
  );
  return rows;
}

async function rowOf({ pool }: TestDatabase, id: string): Promise<string | undefined> {
  const { rows } = await pool.query<{ xid: string }>(
    "select xmin::text as xid from business where id = $1",
    [id],
  );
  return rows[0]?.xid;
}

/** The tests of one adapter, of which `name` is the client. */
export function conforms(name: string, database: () => TestDatabase, run: Way): void {
  const dure = createHandleService();

  it("several events commit in the transaction of the business row, in the order given", async () => {
    const id = `${name}-commit`;
    const xids: unknown[] = [];
    await run(async (tx, insertRow) => {
      await insertRow(id);
      const { rows } = await tx.query(
        "select pg_current_xact_id()::text as xid, $1::boolean as flag",
        [true],
      );
      xids.push(rows[0]?.["xid"], rows[0]?.["flag"]);
      await dure.outbox.emit(tx, [
        OrderPlaced.of({ id, note: awkward }),
        OrderPlaced.of({ id, note: "second" }),
        OrderPlaced.of({ id, note: "third" }),
      ]);
    });
    const events = await eventsOf(database(), id);
    expect(events.map((row) => (JSON.parse(row.data) as Order).note)).toEqual([
      awkward,
      "second",
      "third",
    ]);
    expect(xids).toEqual([await rowOf(database(), id), true]);
    expect(new Set(events.map((row) => row.xid))).toEqual(new Set([await rowOf(database(), id)]));
  });

  it("an event that is the transaction's first write is in it all the same", async () => {
    const id = `${name}-first`;
    await run(async (tx, insertRow) => {
      await dure.outbox.emit(tx, OrderPlaced.of({ id, note: "first" }));
      await insertRow(id);
    });
    expect(await eventsOf(database(), id)).toMatchObject([{ xid: await rowOf(database(), id) }]);
  });

  it("a rollback takes the events with it", async () => {
    const id = `${name}-rollback`;
    const attempt = run(async (tx, insertRow) => {
      await insertRow(id);
      await dure.outbox.emit(tx, OrderPlaced.of({ id, note: "never" }));
      throw new Error("the business says no");
    });
    await expect(attempt).rejects.toThrow("the business says no");
    expect(await rowOf(database(), id)).toBeUndefined();
    expect(await eventsOf(database(), id)).toEqual([]);
  });

  it("an error of our SQL has our code and no payload, and the transaction commits nothing", async () => {
    const id = `${name}-many`;
    const events = Array.from({ length: 1_001 }, (_, n) =>
      OrderPlaced.of({ id: `${id}-${n}`, note: "secret" }),
    );
    const errors: unknown[] = [];
    const attempt = run(async (tx, insertRow) => {
      await insertRow(id);
      await dure.outbox.emit(tx, events).catch((error: unknown) => {
        errors.push(error);
        throw error;
      });
    });
    await expect(attempt).rejects.toMatchObject({ code: "TOO_MANY_KEYS" });
    expect(String(errors[0])).not.toContain("secret");
    expect(await rowOf(database(), id)).toBeUndefined();
  });

  it("the participant barrier reads back what it wrote", async () => {
    const barrier = postgresParticipantBarrier();
    const call = { key: `${name}/charge` };
    const undo = { key: `${name}/refund`, compensates: call.key };
    await run((tx) => barrier.forward(tx, call, () => Promise.resolve({ charged: 5 })));
    const outcomes: unknown[] = [];
    await run(async (tx) => {
      outcomes.push(await barrier.forward(tx, call, () => Promise.reject(new Error("twice"))));
      outcomes.push(
        await barrier.compensate(tx, undo, (answer) => Promise.resolve({ undid: answer })),
      );
      outcomes.push(await barrier.compensate(tx, undo, () => Promise.reject(new Error("twice"))));
    });
    const answer = { undid: { charged: 5 } };
    expect(outcomes).toEqual([
      { kind: "replayed", answer: { charged: 5 } },
      { kind: "executed", answer },
      { kind: "replayed", answer },
    ]);
  });

  it("locks and guarded rows answer alike, and a wait that is over ends no transaction", async () => {
    const locks = postgresSemanticLocks();
    const rows = postgresGuardedTable({ table: "business", statusColumn: "id", columns: ["id"] });
    const claim = { resource: `${name}-room`, owner: "SAGA-1", token: 1 };
    const [id, held] = [`${name}-row`, `${name}-held`];
    const rival = await database().pool.connect();
    await rival.query("insert into business values ($1)", [held]);
    await rival.query("begin");
    await rival.query("select from business where id = $1 for update", [held]);
    const outcomes: { readonly kind: string }[] = [];
    await run(async (tx, insertRow) => {
      outcomes.push(await locks.acquire(tx, claim), await locks.confirm(tx, claim));
      outcomes.push(await rows.lockRow(tx, { id: held, waitMs: 5 }));
      await insertRow(id);
      outcomes.push(await rows.rereadValue(tx, { id, before: { id } }));
      outcomes.push(await rows.transition(tx, { id, from: [id, "b"], to: `${id}-moved` }));
    });
    await rival.query("rollback");
    rival.release();
    const kinds = outcomes.map(({ kind }) => kind);
    expect(kinds).toEqual(["acquired", "confirmed", "busy", "unchanged", "moved"]);
    expect(await rowOf(database(), `${id}-moved`)).toBeDefined();
    expect(await locks.read(database().pool, claim)).toMatchObject({ state: "RESERVED", token: 1 });
  });

  it("an error of a statement keeps its SQLSTATE", async () => {
    const attempt = run(async (tx) => {
      await expect(tx.query("select 1 / $1::int", [0])).rejects.toMatchObject({ code: "22012" });
      throw new Error("seen");
    });
    // postgres.js itself remembers a failed statement of the transaction and rejects with that.
    await expect(attempt).rejects.toThrow(/seen|division by zero/);
  });

  it("a saga starts with the transaction, and not without it", async () => {
    const idName = name.replaceAll(" ", "-");
    const start = (id: string, refusal?: string) =>
      run(async (tx, insertRow) => {
        await insertRow(id);
        await dure.sagas.start(Delivery, { id }, { id, tx });
        if (refusal !== undefined) throw new Error(refusal);
      });
    await start(`${idName}-saga`);
    await expect(start(`${idName}-no-saga`, "no")).rejects.toThrow("no");
    const { rows } = await database().pool.query<{ id: string; xid: string }>(
      "select saga_id as id, xmin::text as xid from dure.saga_instance where saga_id like $1",
      [`${idName}-%`],
    );
    expect(rows).toEqual([
      { id: `${idName}-saga`, xid: await rowOf(database(), `${idName}-saga`) },
    ]);
  });

  it("a statement has its parameters by number, and question marks stay what they are", async () => {
    await run(async (tx) => {
      const { rows, rowCount } = await tx.query(
        `select $2::text::jsonb ? 'a' as has, $2::text::jsonb ->> 'a' as value, $1::text as text, '?' as mark,
           $3::bigint as big, $4::text[] as list, $5::text as nothing, $6::numeric as exact,
           $2::text::jsonb as document`,
        [awkward, JSON.stringify({ a: awkward }), "9007199254740993", ["a", "b?"], null, "1.10"],
      );
      expect([rows, rowCount]).toEqual([
        [
          {
            has: true,
            value: awkward,
            text: awkward,
            mark: "?",
            big: "9007199254740993",
            list: ["a", "b?"],
            nothing: null,
            exact: expect.stringMatching(/^1\.10?$/) as string,
            document: { a: awkward },
          },
        ],
        1,
      ]);
    });
  });
}
