/** A partition is dropped only when its archive holds the same count and checksum, from which it can be restored; else it is kept and offered again. */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createArchiveChecksum, postgresStore } from "../../src/postgres/index.ts";
import type { ArchiveHook, ArchiveReceipt, ExpiredPartition } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  collectLogs,
  createHandledDatabase,
  createTestService,
  emitSteps,
  stepTaken,
  waitForDrained,
} from "./service-fixture.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createHandledDatabase("archive");
});
afterEach(() => database[Symbol.asyncDispose]());

/** Published events of ten days ago, in a partition of their own; its name. */
async function oldPartition(count: number): Promise<string> {
  await using service = createTestService({ pool: database.pool });
  await service.dure.start();
  await service.dure.transaction((tx) => {
    for (let n = 1; n <= count; n += 1) tx.emit(stepTaken, { key: "한글 \u2028\u{1f600}\\", n });
    return Promise.resolve();
  });
  await waitForDrained(service.dure);
  const { pool } = database;
  const { rows } = await pool.query<{ day: string }>(
    "select to_char((now() at time zone 'UTC')::date - 10, 'YYYYMMDD') as day",
  );
  const day = rows[0]?.day ?? "";
  await pool.query("select dure.partition_create('outbox_message', $1::date)", [day]);
  await pool.query("update dure.outbox_message set written_at = written_at - interval '10 days'");
  return `outbox_message_${day}`;
}

/** An archive in memory: what it holds is what it was told, after it was told all. */
function memoryArchive(spoil: (lines: string[]) => void = () => {}) {
  const held = new Map<string, readonly string[]>();
  const archive: ArchiveHook = async ({ name, lines }) => {
    const kept: string[] = [];
    for await (const line of lines()) kept.push(line);
    spoil(kept);
    held.set(name, kept);
    return receiptOf(kept);
  };
  return { held, archive };
}
function receiptOf(lines: readonly string[]): ArchiveReceipt {
  const sum = createArchiveChecksum();
  for (const line of lines) sum.add(line);
  return sum.receipt();
}

function createCare(archive: ArchiveHook | undefined) {
  const { lines, logger } = collectLogs();
  const { pool } = database;
  const store = postgresStore<pg.PoolClient>({
    pool,
    logger,
    retention: archive === undefined ? {} : { archive },
  });
  return { store, lines };
}
const exists = async (name: string): Promise<boolean> => {
  const { rows } = await database.pool.query<{ is: boolean }>(
    "select to_regclass('dure.' || $1) is not null as is",
    [name],
  );
  return rows[0]?.is === true;
};
const record = async (name: string) =>
  (
    await database.pool.query(
      "select row_count::int, checksum, last_error, dropped_at is not null as is_dropped from dure.partition_archive where name = $1",
      [name],
    )
  ).rows[0] as Record<string, unknown> | undefined;
const offerAgain = () =>
  database.pool.query("update dure.partition_archive set lease_until = clock_timestamp()");

describe("an archive", () => {
  it("holds every row before the partition is dropped, and the table can be restored from it and checked in SQL", async () => {
    const name = await oldPartition(2_500);
    const { held, archive } = memoryArchive();
    const { store, lines } = createCare(archive);
    await database.pool.query(`create table kept as select * from dure.${name}`);
    await store.maintain();
    expect(await exists(name)).toBe(false);
    const kept = held.get(name) ?? [];
    expect(kept).toHaveLength(2_500);
    expect(lines.map(({ message }) => message)).toContain("archived and dropped an old partition");
    // In another time zone, in another order, by nothing but the lines.
    const client = await database.pool.connect();
    await client.query("set timezone = 'Asia/Seoul'");
    await client.query("create table restored (like dure.outbox_message)");
    await client.query(
      `insert into restored select r.* from unnest($1::text[]) with ordinality as l (line, n),
       jsonb_populate_record(null::dure.outbox_message, line::jsonb) r order by n desc`,
      [kept],
    );
    const { rows } = await client.query(
      "select row_count::int, checksum from dure.partition_checksum('restored')",
    );
    expect(rows).toEqual([receiptAsRow(receiptOf(kept))]);
    expect(await record(name)).toEqual({ ...rows[0], last_error: null, is_dropped: true });
    const { rows: different } = await client.query(
      "(table kept except table restored) union all (table restored except table kept)",
    );
    client.release();
    expect(different).toEqual([]);
  });
  const receiptAsRow = ({ count, checksum }: ArchiveReceipt) => ({ row_count: count, checksum });

  it("that lacks a row, has one twice, or holds another one, keeps the partition, with an alert", async () => {
    const name = await oldPartition(10);
    const spoilers: ((lines: string[]) => void)[] = [
      (lines) => lines.pop(),
      (lines) => lines.push(lines[0] ?? ""),
      (lines) => lines.splice(3, 1, (lines[3] ?? "").replace("step", "stop")),
    ];
    for (const spoil of spoilers) {
      const { store, lines } = createCare(memoryArchive(spoil).archive);
      await store.maintain();
      expect(lines.filter(({ level }) => level === "error")).toEqual([
        expect.objectContaining({ message: expect.stringMatching(/^ARCHIVE_MISMATCH/) as string }),
      ]);
      expect(await exists(name)).toBe(true);
      expect(await record(name)).toMatchObject({
        is_dropped: false,
        last_error: "ARCHIVE_MISMATCH",
      });
      await offerAgain();
    }
    const { archive } = memoryArchive();
    const miscounted = createCare(async (partition) => {
      const receipt = await archive(partition);
      return { ...receipt, count: receipt.count + 1 };
    });
    await miscounted.store.maintain();
    expect(await exists(name)).toBe(true);
    await offerAgain();
    await createCare(archive).store.maintain();
    expect(await exists(name)).toBe(false);
  });

  it("that fails, or a service without one, keeps what was taken out; later it is offered again", async () => {
    const name = await oldPartition(10);
    const failing = createCare(() => Promise.reject(new Error("no space left")));
    await failing.store.maintain();
    expect(await exists(name)).toBe(true);
    expect(await record(name)).toMatchObject({ last_error: "Error: no space left" });
    await offerAgain();
    const without = createCare(undefined);
    await without.store.maintain();
    await without.store.maintain();
    expect(without.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
    expect(await exists(name)).toBe(true);
    await createCare(memoryArchive().archive).store.maintain();
    expect(await exists(name)).toBe(false);
  });

  it("is asked by one process at a time; one that died is followed by another, and comes too late if it comes back", async () => {
    const name = await oldPartition(10);
    let finish = (): void => {};
    const slow = memoryArchive();
    const started = Promise.withResolvers<ExpiredPartition>();
    const first = createCare(async (partition) => {
      started.resolve(partition);
      await new Promise<void>((resolve) => (finish = resolve));
      return slow.archive(partition);
    });
    const maintaining = first.store.maintain();
    await started.promise;
    const second = memoryArchive();
    await createCare(second.archive).store.maintain();
    expect(second.held.size).toBe(0);
    // As if the first had died a lease ago.
    await offerAgain();
    const third = createCare(async (partition) => {
      const receipt = await second.archive(partition);
      finish();
      await maintaining;
      return receipt;
    });
    await third.store.maintain();
    expect(first.lines.map(({ message }) => message)).toContain(
      "a partition was archived too slowly: another process has taken over",
    );
    expect(second.held.get(name)).toHaveLength(10);
    expect(await exists(name)).toBe(false);
  });

  it("is not waited for when the service stops, and no lock or transaction is held while it works", async () => {
    const name = await oldPartition(10);
    const stop = new AbortController();
    const started = Promise.withResolvers<ExpiredPartition>();
    const { store } = createCare((partition) => {
      started.resolve(partition);
      return new Promise(() => {});
    });
    const maintaining = store.maintain(stop.signal);
    const { signal } = await started.promise;
    const { rows } = await database.pool.query(
      `select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
       union all select from pg_locks where relation = ('dure.' || $1)::regclass`,
      [name],
    );
    expect(rows).toEqual([]);
    stop.abort();
    await maintaining;
    expect(signal.aborted).toBe(true);
    expect(await exists(name)).toBe(true);
  });

  it("gets the default partition too, when it is old, under a name of its own", async () => {
    const { pool } = database;
    await pool.query(
      "do $$ begin execute (select 'drop table ' || string_agg(inhrelid::regclass::text, ', ') from pg_inherits where inhparent = 'dure.outbox_message'::regclass and inhrelid::regclass::text not like '%rest'); end $$",
    );
    await using service = createTestService({ pool });
    await emitSteps(service.dure, "k", { to: 3 });
    await service.dure.start();
    await waitForDrained(service.dure);
    await service.stop();
    await pool.query(
      "update dure.outbox_message_rest set written_at = written_at - interval '10 days'",
    );
    const { held, archive } = memoryArchive();
    await createCare(archive).store.maintain();
    expect([...held.keys()]).toEqual([expect.stringMatching(/^outbox_message_rest_\d{8}_\d{12}$/)]);
    expect([...held.values()][0]).toHaveLength(3);
    await waitFor(async () => exists("outbox_message_rest"), { what: "a new default partition" });
    expect((await pool.query("select from dure.outbox_message")).rowCount).toBe(0);
  });
});
