/** Every loop comes back by itself after the database went away, and a service that stops loses nothing (laws X2, X3). */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startEmbeddedPostgres } from "../../src/embedded/index.ts";
import { isDureError } from "../../src/index.ts";
import { migrate, postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor, within } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createHandledTable,
  createTestService,
  disorderedKeys,
  emitSteps,
  handled,
  handleInto,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

/** Counts up keys until told to stop, whatever happens to the database; the counter's row says what was committed. */
async function writeUntil(
  service: TestService,
  pool: pg.Pool,
  keys: readonly string[],
  isOver: () => boolean,
): Promise<number> {
  await Promise.all(
    keys.map(async (key) => {
      while (!isOver()) {
        await service.dure
          .transaction(async (tx) => {
            const { rows } = await tx.query(
              "update counter set n = n + 1 where key = $1 returning n",
              [key],
            );
            tx.emit(stepTaken, { key, n: Number(rows[0]?.["n"]) });
          })
          .catch(async (error: unknown) => {
            // A pool that has ended refuses at once, for ever: the test's own time-out must get its turn.
            await setImmediate();
            // Lost before or in COMMIT; anything else is a defect.
            if (
              !isDureError(error, "DATABASE_UNAVAILABLE") &&
              !isDureError(error, "COMMIT_IN_DOUBT")
            )
              throw error;
          });
      }
    }),
  );
  return waitFor(
    () =>
      pool.query<{ sum: number }>("select sum(n)::int as sum from counter").then(
        ({ rows }) => rows[0]?.sum,
        () => undefined,
      ),
    { what: "the sum of what was committed" },
  );
}

async function createCounters(pool: pg.Pool, keys: readonly string[]): Promise<void> {
  await pool.query("create table counter (key text primary key, n int not null)");
  await pool.query("insert into counter select unnest($1::text[]), 0", [keys]);
}
const keys = ["a", "b", "c", "d"];

describe("a database that goes away", () => {
  it("by ended sessions in the middle of everything: all loops recover, nothing is lost or doubled", async () => {
    await using database = await createHandledDatabase("recovery");
    await createCounters(database.pool, keys);
    await using service = createTestService({ pool: database.pool });
    service.dure.on(stepTaken, {}, handleInto("steps"));
    await service.dure.start();
    // The test's own eyes, which are spared.
    const reader = new pg.Pool({
      connectionString: database.url,
      max: 1,
      application_name: "reader",
    });
    let isOver = false;
    const writing = writeUntil(service, database.pool, keys, () => isOver);
    for (let round = 1; round <= 4; round += 1) {
      const before = (await handled(reader)).length;
      await waitForHandled(reader, before + 40);
      const killer = new pg.Client({ connectionString: database.url });
      await killer.connect();
      await killer.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name <> 'reader'",
      );
      await killer.end();
    }
    isOver = true;
    const committed = await writing;
    const rows = await waitForHandled(reader, committed);
    await reader.end();
    await waitForDrained(service.dure);
    expect(rows).toHaveLength(committed);
    expect(disorderedKeys(rows)).toEqual([]);
    const status = await service.dure.status();
    expect(status).toMatchObject({ deadLetters: 0, order: { steps: { gaps: 0, reorders: 0 } } });
  });

  it("by a restart of the server: all loops recover, and say so a few times, not thousands", async () => {
    const folder = await mkdtemp(join(tmpdir(), "dure-recovery-"));
    const options = { dataDir: join(folder, "postgres"), settings: { fsync: "off" } };
    let server = await startEmbeddedPostgres(options);
    const pool = new pg.Pool({
      connectionString: server.url,
      max: 15,
      connectionTimeoutMillis: 2_000,
    });
    pool.on("error", () => {});
    await migrate({ pool });
    await createHandledTable(pool);
    await createCounters(pool, keys);
    const service = createTestService({ pool });
    service.dure.on(stepTaken, {}, handleInto("steps"));
    await service.dure.start();
    let isOver = false;
    let writing = writeUntil(service, pool, keys, () => isOver);
    await waitForHandled(pool, 100);
    // Stays undecided over the restart: whoever watched it must know it again, or would pass over its position.
    const undecided = await pool.connect();
    await undecided.query("begin");
    await service.dure.outbox.emit(undecided, stepTaken.of({ key: "prepared", n: 1 }));
    await undecided.query("prepare transaction 'undecided'");
    undecided.release();
    const writers = async () => {
      const found = await postgresStore({ pool }).outbox.writers([0, 1, 2, 3, 4, 5, 6, 7]);
      return new Set([...found.values()].flatMap((names) => [...names]));
    };
    isOver = true;
    await writing;
    const watched = await writers();
    expect(watched.size).toBeGreaterThan(0);
    isOver = false;
    writing = writeUntil(service, pool, keys, () => isOver);
    const { port } = server;
    await server.stop();
    server = await startEmbeddedPostgres({ ...options, port });
    const before = (await handled(pool)).length;
    await waitForHandled(pool, before + 100, { timeoutMs: 20_000 });
    expect(watched.intersection(await writers()).size).toBeGreaterThan(0);
    await pool.query("commit prepared 'undecided'");
    isOver = true;
    const committed = (await writing) + 1;
    const rows = await waitForHandled(pool, committed);
    expect(rows).toHaveLength(committed);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(
      service.logs.filter(({ level }) => level === "warn" || level === "error").length,
    ).toBeLessThan(20);
    expect(await service.stop()).toBe(true);
    await pool.end();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });
});

describe("stopping and starting", () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await createHandledDatabase("lifecycle", { poolSizeMax: 30 });
  });
  afterEach(() => database[Symbol.asyncDispose]());

  it("hands back at once and loses nothing under load: another goes on in well under a lease", async () => {
    await createCounters(database.pool, keys);
    const slow = {
      relay: { leaseMs: 9_000, pollMsMax: 100 },
      groupLeaseMs: 9_000,
      pool: database.pool,
    };
    const first = createTestService(slow);
    const second = createTestService(slow);
    for (const { dure } of [first, second]) dure.on(stepTaken, {}, handleInto("steps"));
    await first.dure.start();
    let isOver = false;
    const writing = writeUntil(first, database.pool, keys, () => isOver);
    await waitForHandled(database.pool, 100);
    await second.dure.start();
    expect(await first.stop()).toBe(true);
    const stoppedAt = performance.now();
    isOver = true;
    const committed = await writing;
    const rows = await waitForHandled(database.pool, committed);
    expect(performance.now() - stoppedAt).toBeLessThan(5_000);
    expect(disorderedKeys(rows)).toEqual([]);
    expect((await second.dure.status()).order["steps"]).toMatchObject({
      duplicates: 0,
      gaps: 0,
      reorders: 0,
    });
    expect(await second.stop()).toBe(true);
  });

  it("refuses a second start, also at the same time; may be stopped twice, and before it was started", async () => {
    const service = createTestService({ pool: database.pool });
    const starts = await Promise.allSettled([service.dure.start(), service.dure.start()]);
    expect(starts.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    await expect(service.dure.start()).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
    expect(() => service.dure.on(stepTaken, {}, () => {})).toThrow("before start");
    expect(await Promise.all([service.stop(), service.stop()])).toEqual([true, true]);
    expect(await service.stop()).toBe(true);
    const never = createTestService({ pool: database.pool });
    expect(await never.stop()).toBe(true);
    await expect(never.dure.start()).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  });

  it("hears a stop that comes while it starts, and leaves nothing running", async () => {
    const service = createTestService({ pool: database.pool });
    const starting = service.dure.start();
    const stopping = service.stop();
    await expect(starting).rejects.toMatchObject({ code: "STOPPED" });
    expect(await stopping).toBe(true);
    expect((await service.dure.status()).relays).toBe(0);
  });

  it("may be started again after the schema was missing", async () => {
    await using empty = await createTestDatabase({ migrate: false, name: "empty" });
    await using service = createTestService({ pool: empty.pool });
    await expect(service.dure.start()).rejects.toMatchObject({ code: "SCHEMA_MISSING" });
    await migrate({ pool: empty.pool });
    await service.dure.start();
    await emitSteps(service.dure, "k", { to: 1 });
    await waitForDrained(service.dure);
  });

  it("gives up waiting for a handler that does not end, and says so; its message is handled by the next", async () => {
    let finish = (): void => {};
    const hanging = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const service = createTestService({ pool: database.pool });
    let calls = 0;
    service.dure.on(stepTaken, {}, async () => {
      calls += 1;
      await hanging;
      throw new Error("too late");
    });
    await service.dure.start();
    await emitSteps(service.dure, "k", { to: 1 });
    await waitFor(() => calls === 1, { what: "the handler" });
    expect(await service.dure.stop({ withinMs: 200 })).toBe(false);
    expect(service.logs.at(-1)?.message).toContain("stopped before everything");
    finish();
    await within(service.stop(), { what: "the stop" });
    await using next = createTestService({ pool: database.pool });
    next.dure.on(stepTaken, {}, handleInto("steps"));
    await next.dure.start();
    await waitForHandled(database.pool, 1);
  });
});
