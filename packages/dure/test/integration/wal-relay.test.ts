/** The relay by the write-ahead log keeps the laws of the relay that looks into the table (O1 to O3, O6), with and without a table. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Transport } from "../../src/index.ts";
import type { EventLog, WalOptions } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { dropWalSlot, walOptions } from "../support/wal-options.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  logMessages,
  stepTaken,
  type TestService,
  type TestServiceOptions,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
const started: TestService[] = [];

beforeEach(async () => {
  database = await createHandledDatabase("wal", { poolSizeMax: 30 });
});
afterEach(async () => {
  for (const service of started.splice(0)) await service.stop();
  await dropSlot();
  await database[Symbol.asyncDispose]();
});

const wal = (more?: Partial<WalOptions>) => walOptions(database.url, more);

async function start(
  options: Partial<TestServiceOptions> = {},
  handles = false,
): Promise<TestService> {
  const service = createTestService({ pool: database.pool, wal: wal(), ...options });
  started.push(service);
  if (handles) service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  return service;
}

const dropSlot = () => dropWalSlot(database.pool);

const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);

for (const tableless of [false, true]) {
  describe(tableless ? "by messages in the log alone" : "by the outbox's rows", () => {
    const own = () => wal({ tableless });

    const total = (each: number): number => keys.length * each;

    it("publishes what commits, once and in order per key, and nothing that rolls back", async () => {
      const service = await start({ wal: own() }, true);
      await Promise.all(keys.map((key) => emitSteps(service.dure, key, { to: 50 })));
      await expect(
        service.dure.transaction(async (tx) => {
          tx.emit(stepTaken, { key: "never", n: 1 });
          await tx.query("select 1/0");
        }),
      ).rejects.toThrow("division by zero");
      const rows = await waitForHandled(database.pool, 600);
      expect(disorderedKeys(rows)).toEqual([]);
      const { rows: kept } = await database.pool.query<{ n: number }>(
        "select count(*)::int as n from dure.outbox_message",
      );
      expect(kept[0]?.n).toBe(tableless ? 0 : 600);
    });

    it("goes on where it was when the reader's session is ended, and when another process takes over", async () => {
      const first = await start({ wal: own() }, true);
      const emitted = Promise.all(keys.map((key) => emitSteps(first.dure, key, { to: 60 })));
      await waitForHandled(database.pool, 100);
      await endReader();
      await waitForHandled(database.pool, 300);
      await start({ wal: own() }, true);
      await emitted;
      await first.stop();
      expect(disorderedKeys(await waitForHandled(database.pool, total(60)))).toEqual([]);
      const writer = await start({ wal: own(), relay: false });
      await Promise.all(keys.map((key) => emitSteps(writer.dure, key, { from: 61, to: 70 })));
      expect(disorderedKeys(await waitForHandled(database.pool, total(70)))).toEqual([]);
    });

    it("lets the log go only up to what the broker has acknowledged", async () => {
      const broken = await start({ wal: own(), wrap: (log) => unreachable(log) });
      await emitSteps(broken.dure, "held", { to: 3 });
      const { rows: end } = await database.pool.query<{ lsn: string }>(
        "select pg_current_wal_flush_lsn() as lsn",
      );
      await waitFor(
        () => broken.logs.some(({ message }) => message.includes("could not publish")),
        {
          what: "a refusal of the broker",
        },
      );
      expect(await isAcknowledged(end[0]?.lsn ?? "")).toBe(false);
      await broken.stop();
      expect(await isAcknowledged(end[0]?.lsn ?? "")).toBe(false);
      await start({ wal: own() }, true);
      expect(disorderedKeys(await waitForHandled(database.pool, 3))).toEqual([]);
      await waitFor(() => isAcknowledged(end[0]?.lsn ?? ""), { what: "the acknowledgement" });
    });

    it("waits for a writer that is late, stalls nobody, and closes the gaps of those that rolled back", async () => {
      const service = await start({ wal: own() }, true);
      const late = Promise.withResolvers<void>();
      const drawn = Promise.withResolvers<void>();
      const slow = service.dure.transaction(async (tx) => {
        await service.dure.outbox.emit(tx, stepTaken.of({ key: "slow", n: 1 }));
        drawn.resolve();
        await late.promise;
      });
      await drawn.promise;
      for (let n = 0; n < 20; n += 1) {
        await service.dure
          .transaction(async (tx) => {
            await service.dure.outbox.emit(tx, stepTaken.of({ key: `gone-${n}`, n: 1 }));
            throw new Error("rolled back");
          })
          .catch(() => undefined);
      }
      await Promise.all(keys.map((key) => emitSteps(service.dure, key, { to: 10 })));
      await waitForHandled(database.pool, total(10));
      late.resolve();
      await slow;
      expect(disorderedKeys(await waitForHandled(database.pool, total(10) + 1))).toEqual([]);
      await waitFor(async () => (await openShards()) === 0, { what: "the gaps' end" });
    });

    it("takes a transaction larger than it may hold, piece by piece", async () => {
      const service = await start({ wal: { ...own(), eventsMax: 50 } }, true);
      await service.dure.transaction(async (tx) => {
        for (let n = 1; n <= 100; n += 1) for (const key of keys) tx.emit(stepTaken, { key, n });
      });
      const rows = await waitForHandled(database.pool, total(100), { timeoutMs: 30_000 });
      expect(disorderedKeys(rows)).toEqual([]);
    });
  });
}

const endReader = () =>
  database.pool.query("select pg_terminate_backend(active_pid) from dure.outbox_wal");

const isAcknowledged = async (position: string): Promise<boolean> => {
  const { rows } = await database.pool.query<{ is_past: boolean }>(
    "select confirmed_flush_lsn >= $1::pg_lsn as is_past from dure.outbox_wal",
    [position],
  );
  return rows[0]?.is_past === true;
};

/** Shards in which a position is missing among those that are done. */
async function openShards(): Promise<number> {
  const { rows } = await database.pool.query<{ open: number }>(`
    select count(*)::int as open from (
      select distinct on (shard) done from dure.outbox_cursor order by shard, epoch desc, n desc
    ) newest where done <> '{}'`);
  return rows[0]?.open ?? 0;
}

const unreachable = (log: EventLog): Transport => ({
  name: log.name,
  publish: () => Promise.reject(new Error("the broker is away")),
  subscribe: (options) => log.subscribe(options),
  check: () => log.check(),
  close: () => log.close(),
});

describe("a slot that is lost", () => {
  it("costs nothing where the events stand in the table: they are read there", async () => {
    const service = await start({}, true);
    await emitSteps(service.dure, "k", { to: 5 });
    await waitForHandled(database.pool, 5);
    await service.stop();
    await dropSlot();
    const writer = await start({ relay: false });
    await emitSteps(writer.dure, "k", { from: 6, to: 10 });
    const next = await start({}, true);
    await emitSteps(next.dure, "k", { from: 11, to: 15 });
    expect(disorderedKeys(await waitForHandled(database.pool, 15))).toEqual([]);
  });

  it("is an error where they stood in the log alone: no more are taken until an operator has seen it", async () => {
    const tableless = wal({ tableless: true });
    const service = await start({ wal: tableless }, true);
    await emitSteps(service.dure, "k", { to: 5 });
    await waitForHandled(database.pool, 5);
    await service.stop();
    const writer = await start({ wal: tableless, relay: false });
    await emitSteps(writer.dure, "k", { from: 6, to: 8 });
    await dropSlot();
    await expect(start({ wal: tableless }, true)).rejects.toMatchObject({ code: "WAL_SLOT_LOST" });
    await expect(emitSteps(writer.dure, "k", { from: 9, to: 9 })).rejects.toMatchObject({
      code: "TABLELESS_OFF",
    });
    const report = await writer.dure.relay.resync({ actor: "op", reason: "the disk was full" });
    expect(report.missing).toBe(3);
    const next = await start({ wal: tableless }, true);
    await emitSteps(next.dure, "k", { from: 9, to: 10 });
    await waitForHandled(database.pool, 7);
    const { rows } = await database.pool.query("select action, actor from dure.audit_entry");
    expect(rows).toEqual([{ action: "relay.resync", actor: "op" }]);
  });
});

describe("events in the log alone", () => {
  it("and relays that look into the table keep off each other", async () => {
    const looking = await start({ wal: undefined });
    await waitFor(async () => (await looking.dure.relay.status()).relays === 1, {
      what: "the relay",
    });
    const tableless = wal({ tableless: true });
    await expect(start({ wal: tableless })).rejects.toMatchObject({ code: "RELAY_NEEDS_WAL" });
    await looking.stop();
    await start({ wal: tableless });
    const again = await start({ wal: undefined });
    await waitFor(
      () =>
        again.logs.some(
          ({ facts }) =>
            String(facts?.["error"]).includes("RELAY_NEEDS_WAL") ||
            String(facts?.["error"]).includes("write-ahead log alone"),
        ),
      {
        what: "the refusal",
      },
    );
  });
});

describe("repairs of the outbox", () => {
  const by = { actor: "ada", reason: "the broker lost it" };

  const numbersOf = async (key: string): Promise<readonly number[]> =>
    (await logMessages(database.pool))
      .filter((message) => message.key === key)
      .map((message) => (JSON.parse(message.data) as { n: number }).n);

  it("are seen though the log does not tell of them: what is published again goes before what waits", async () => {
    const service = await start();
    for (const key of ["a", "b", "c"]) await emitSteps(service.dure, key, { to: 4 });
    await waitForDrained(service.dure);
    await service.dure.relay.pause(by);
    // They come by the feed and wait here, under the positions that they had before.
    for (const key of ["a", "b", "c"]) await emitSteps(service.dure, key, { from: 5, to: 6 });
    const since = new Date(0).toISOString();
    const shards = await service.dure.relay.republish({ ...by, since });
    expect(shards.reduce((sum, { moved }) => sum + moved, 0)).toBe(18);
    await service.dure.relay.resume(by);
    await waitForDrained(service.dure);
    await emitSteps(service.dure, "c", { from: 7, to: 7 });
    await waitFor(async () => (await numbersOf("c")).includes(7), { what: "the next event" });
    for (const key of ["a", "b"]) {
      expect(await numbersOf(key)).toEqual([1, 2, 3, 4, 1, 2, 3, 4, 5, 6]);
    }
    expect(await numbersOf("c")).toEqual([1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7]);
  });

  it("find events that a sequence set back had hidden", async () => {
    const service = await start({}, true);
    await emitSteps(service.dure, "a", { to: 20 });
    await waitForHandled(database.pool, 20);
    await waitForDrained(service.dure);
    await database.pool.query(
      "select setval(s, 3) from dure.outbox_setting, unnest(position_sequences) s where pg_sequence_last_value(s) > 3",
    );
    await emitSteps(service.dure, "a", { from: 21, to: 25 });
    await waitFor(
      () => service.logs.some((line) => JSON.stringify(line).includes("OUTBOX_SEQUENCE_SET_BACK")),
      { what: "the alarm" },
    );
    expect((await service.dure.relay.rebase(by)).length).toBe(1);
    await emitSteps(service.dure, "a", { from: 26, to: 27 });
    expect(disorderedKeys(await waitForHandled(database.pool, 27))).toEqual([]);
  });

  it("refuse to publish again what stands in no table", async () => {
    const service = await start({ wal: wal({ tableless: true }) });
    await emitSteps(service.dure, "a", { to: 2 });
    const again = service.dure.relay.republish({ ...by, since: new Date(0).toISOString() });
    await expect(again).rejects.toMatchObject({
      code: "CONFIGURATION_INVALID",
      message: expect.stringContaining("stand in the write-ahead log alone") as string,
    });
  });
});
