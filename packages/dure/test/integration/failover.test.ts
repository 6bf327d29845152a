/** A service whose database crashes, falls silent or is another when it answers again comes back by itself, and nothing is lost, doubled or out of order (laws O3, X3, X4). */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { startEmbeddedPostgres } from "../../src/embedded/index.ts";
import { isDureError } from "../../src/index.ts";
import { classifySqlError, migrate } from "../../src/postgres/index.ts";
import { tcpProxy } from "../../../../tools/servers/tcp-proxy.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createHandledTable,
  createTestService,
  disorderedKeys,
  handled,
  handleInto,
  stepTaken,
  type TestService,
  type TestServiceOptions,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

const keys = ["a", "b", "c", "d", "e", "f"];
const leaseMs = 1_000;
const relay = { leaseMs, pollMsMax: 50, publishMsMax: leaseMs };

async function createCounters(pool: pg.Pool): Promise<void> {
  await pool.query("create table counter (key text primary key, n int not null)");
  await pool.query("insert into counter select unnest($1::text[]), 0", [keys]);
}

const isUnavailable = (error: unknown): boolean =>
  isDureError(error, "DATABASE_UNAVAILABLE") || classifySqlError(error) === "unavailable";

/** Counts up each key until told to stop, whatever happens to the database. */
async function writeUntil(service: TestService, isOver: () => boolean): Promise<void> {
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
          .catch((error: unknown) => {
            // Lost before or in COMMIT, or slower than the pool's query_timeout; anything else is a defect.
            if (!isDureError(error, "COMMIT_IN_DOUBT") && !isUnavailable(error)) throw error;
          });
      }
    }),
  );
}

/** What the counters say was committed is what was handled, each key from 1 without a gap or a double. */
async function expectAllHandled(pool: pg.Pool, services: readonly TestService[]): Promise<void> {
  const { rows: sums } = await pool.query<{ sum: number }>(
    "select sum(n)::int as sum from counter",
  );
  const committed = sums[0]?.sum ?? -1;
  const rows = await waitForHandled(pool, committed, { timeoutMs: 60_000 });
  expect(rows).toHaveLength(committed);
  expect(disorderedKeys(rows)).toEqual([]);
  for (const { dure } of services) {
    await waitForDrained(dure, { timeoutMs: 60_000 });
    const { order, deadLetters, parkedKeys } = await dure.status();
    expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, unverified: 0 });
    expect({ deadLetters, parkedKeys }).toEqual({ deadLetters: 0, parkedKeys: 0 });
  }
}

/** Each loop of a service says a trouble once or, on a machine that is slow to recover, a few times; not once a statement. */
function expectFewWords({ logs }: TestService): void {
  const warnings = Map.groupBy(
    logs.filter(({ level }) => level === "warn" || level === "error"),
    ({ message }) => message,
  );
  for (const [message, said] of warnings) expect(said.length, message).toBeLessThan(10);
}

async function startService(options: TestServiceOptions): Promise<TestService> {
  const service = createTestService({ relay, ...options });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  return service;
}

describe("a database that crashes under load and recovers from its log", () => {
  it("finds two relays back, loses nothing that it had confirmed, and each says so once", async () => {
    const folder = await mkdtemp(join(tmpdir(), "dure-failover-"));
    const options = { dataDir: join(folder, "postgres"), settings: { fsync: "off" } };
    let server = await startEmbeddedPostgres(options);
    const createPool = () => {
      const pool = new pg.Pool({
        connectionString: server.url,
        max: 15,
        connectionTimeoutMillis: 2 * leaseMs,
      });
      pool.on("error", () => {}); // said again by the next statement
      return pool;
    };
    const pools = [createPool(), createPool()];
    const [pool = createPool()] = pools;
    await migrate({ pool });
    await createHandledTable(pool);
    await createCounters(pool);
    const services = await Promise.all(pools.map((own) => startService({ pool: own })));
    let isOver = false;
    const writing = Promise.all(services.map((service) => writeUntil(service, () => isOver)));
    const crashes = 2;
    for (let crash = 1; crash <= crashes; crash += 1) {
      const before = (await handled(pool)).length;
      await waitForHandled(pool, before + 100, { timeoutMs: 60_000 });
      const { port } = server;
      process.kill(server.pid, "SIGQUIT"); // the server's immediate mode: no goodbye, no checkpoint
      await server.stop();
      server = await startEmbeddedPostgres({ ...options, port });
      await waitForHandled(pool, before + 200, { timeoutMs: 60_000 });
    }
    isOver = true;
    await writing;
    await expectAllHandled(pool, services);
    for (const service of services) {
      expectFewWords(service);
      expect(await service.stop()).toBe(true);
    }
    for (const own of pools) await own.end();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }, 240_000);
});

describe("a database that is silent for longer than the lease, as behind a pulled cable", () => {
  it.for([
    { ending: "and then hears everything late", isAnother: false },
    { ending: "and is another when it answers again", isAnother: true },
  ])(
    "$ending: finds the relay fenced, and then back; nothing is sent out of order",
    { timeout: 180_000 },
    async ({ isAnother }) => {
      await using database = await createHandledDatabase("silent", { poolSizeMax: 20 });
      await createCounters(database.pool);
      await using proxy = await tcpProxy(database.url);
      const pool = new pg.Pool({
        connectionString: proxy.url,
        max: 20,
        connectionTimeoutMillis: leaseMs,
        // A statement that nobody answers: without it the driver waits for ever.
        query_timeout: isAnother ? 4 * leaseMs : 30_000,
      });
      pool.on("error", () => {}); // said again by the next statement
      const cutOff = await startService({
        pool,
        statementMsMax: 2 * leaseMs,
        // What its sessions hold on the server when nobody is at the other end.
        idleInTransactionMsMax: 2 * leaseMs,
      });
      const heir = await startService({ pool: database.pool });
      let isOver = false;
      const writing = Promise.all(
        [cutOff, heir].map((service) => writeUntil(service, () => isOver)),
      );
      await waitForHandled(database.pool, 100);
      await waitFor(async () => (await heir.dure.status()).relays === 2, {
        what: "both relays",
        timeoutMs: 60_000,
      });
      proxy.blackHole();
      await waitFor(async () => (await heir.dure.status()).relays === 1, {
        what: "the lease of the one that is cut off to end",
      });
      await holdsFor(async () => (await heir.dure.status()).relays === 1, {
        what: "a relay that is cut off is none",
        forMs: 2 * leaseMs,
      });
      if (isAnother) proxy.abandon();
      proxy.resume();
      await waitFor(async () => (await heir.dure.status()).relays === 2, {
        what: "the relay to come back",
        timeoutMs: 60_000,
      });
      const before = (await handled(database.pool)).length;
      await waitForHandled(database.pool, before + 100, { timeoutMs: 60_000 });
      isOver = true;
      await writing;
      await expectAllHandled(database.pool, [cutOff, heir]);
      expectFewWords(cutOff);
      expectFewWords(heir);
      await cutOff.stop();
      await heir.stop();
      await pool.end();
    },
  );
});
