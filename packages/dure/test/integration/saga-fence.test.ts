/** What a fenced process writes is taken by no way in, and what it wrote before is there when the fence has committed (S6). */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { postgresSagaStore } from "../../src/postgres/saga-store.ts";
import type { JournalEntry, SagaStart, SagaStore } from "../../src/saga/saga-store.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

let database: TestDatabase;
let store: SagaStore;
beforeAll(async () => {
  database = await createTestDatabase();
  store = postgresSagaStore(database.pool, '"dure"');
});
afterAll(() => database[Symbol.asyncDispose]());

const leaseMs = 60_000;

function startOf(sagaId: string): SagaStart {
  return {
    sagaId,
    definition: "fenced",
    version: 1,
    businessKey: undefined,
    input: "{}",
    traceparent: undefined,
    deadlineMs: undefined,
  };
}

function entryOf(sagaId: string, n: number, more: Partial<JournalEntry> = {}): JournalEntry {
  return {
    sagaId,
    n,
    events: "[]",
    start: undefined,
    move: undefined,
    signals: undefined,
    ...more,
  };
}

/** A process that has started a saga. */
async function joined(sagaId: string): Promise<number> {
  const { process } = await store.join(leaseMs);
  await store.record(process, 1, [entryOf(sagaId, 1, { start: startOf(sagaId) })]);
  return process;
}

async function standing(sagaId: string): Promise<unknown> {
  const { rows } = await database.pool.query(
    `select i.status, l.process, (select count(*)::integer from dure.saga_journal j where j.saga_id = i.saga_id) as entries
     from dure.saga_instance i left join dure.saga_live l using (saga_id) where saga_id = $1`,
    [sagaId],
  );
  return rows[0];
}

const end = { move: { kind: "end", status: "COMPLETED" } } as const;

type Write = (process: number, entries: readonly JournalEntry[]) => Promise<unknown>;

const writes: Readonly<Record<string, Write>> = {
  "a batch of entries": (process, entries) => store.record(process, 2, entries),
  "a batch with the effects of its steps": (process, entries) => {
    const { text, params } = store.recordStatements(process, 2, entries);
    return database.pool.query(text, [...params]);
  },
  "an entry with the effect of its step": (process, entries) => {
    const { text, params } = store.recordStatement(process, 2, entries[0] as JournalEntry);
    return database.pool.query(text, [...params]);
  },
};

describe.each(Object.entries(writes))("%s", (name, write) => {
  it("is refused as a whole once the process is fenced", async () => {
    const process = await joined(`F-${name}`);
    await store.leave(process);
    const late = write(process, [
      entryOf(`F-${name}`, 2, end),
      entryOf(`F-new ${name}`, 1, { start: startOf(`F-new ${name}`) }),
    ]);
    await expect(late).rejects.toSatisfy(
      (error: { code?: string }) => error.code === "FENCED" || error.code === "DU003",
    );
    expect(await standing(`F-${name}`)).toEqual({ status: "RUNNING", process: null, entries: 1 });
    expect(await standing(`F-new ${name}`)).toBeUndefined();
  });

  it("that has passed the fence is committed before the process is fenced", async () => {
    const sagaId = `F-open ${name}`;
    const process = await joined(sagaId);
    const client: pg.PoolClient = await database.pool.connect();
    const { text, params } = name.startsWith("an ")
      ? store.recordStatement(process, 3, entryOf(sagaId, 2))
      : store.recordStatements(process, 3, [entryOf(sagaId, 2)]);
    await client.query("begin");
    await client.query(text, [...params]);
    let isFenced = false;
    const leaving = store.leave(process).then(() => {
      isFenced = true;
    });
    await waitFor(
      async () =>
        (
          await database.pool.query(
            "select 1 from pg_locks where locktype = 'advisory' and not granted",
          )
        ).rows.length > 0,
      { what: "the fence to wait for the writer" },
    );
    expect(isFenced).toBe(false);
    await client.query("commit");
    client.release();
    await leaving;
    expect(await standing(sagaId)).toEqual({ status: "RUNNING", process: null, entries: 2 });
  });
});

describe("a batch with entries that are there already", () => {
  it("takes what is new, says what is not, and answers the same when it is written again", async () => {
    const { process } = await store.join(leaseMs);
    const other = await joined("F-taken");
    const batch = [
      entryOf("F-fresh", 1, { start: startOf("F-fresh") }),
      entryOf("F-taken", 1, { start: startOf("F-taken") }),
      entryOf("F-done", 1, { start: startOf("F-done"), ...end }),
    ];
    const refused = new Set(["F-taken"]);
    expect(await store.record(process, 7, batch)).toEqual(refused);
    expect(await store.record(process, 7, batch)).toEqual(refused);
    expect(await standing("F-fresh")).toEqual({ status: "RUNNING", process, entries: 1 });
    expect(await standing("F-taken")).toEqual({ status: "RUNNING", process: other, entries: 1 });
    expect(await standing("F-done")).toEqual({ status: "COMPLETED", process: null, entries: 1 });
  });

  it("ends and frees only what is this process's", async () => {
    const { process } = await store.join(leaseMs);
    const other = await joined("F-others");
    await store.record(process, 8, [entryOf("F-mine", 1, { start: startOf("F-mine") })]);
    const free = { move: { kind: "free", status: "FAILED", wakeInMs: undefined } } as const;
    await store.record(process, 9, [entryOf("F-others", 2, end), entryOf("F-mine", 2, free)]);
    expect(await standing("F-others")).toMatchObject({ status: "RUNNING", process: other });
    expect(await standing("F-mine")).toEqual({ status: "FAILED", process: null, entries: 2 });
  });
});
