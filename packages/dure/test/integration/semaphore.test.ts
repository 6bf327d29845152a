/** N permits over all processes, a bounded line first come first served, and nobody sent away or kept waiting without an answer that says so (law L4). */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createDure,
  type Dure,
  type DureOptions,
  isDureError,
  SemaphoreBusyError,
} from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { type Around, wrapPool } from "../support/wrap-pool.ts";

let database: TestDatabase;
let started: Dure<pg.PoolClient>[];
beforeEach(async () => {
  database = await createTestDatabase({ name: "semaphore", poolSizeMax: 16 });
  started = [];
});
afterEach(async () => {
  await Promise.all(started.map((dure) => dure.stop()));
  await database[Symbol.asyncDispose]();
});

function service(
  more: Partial<DureOptions<pg.PoolClient>> = {},
  pool: pg.Pool = database.pool,
): Dure<pg.PoolClient> {
  const store = postgresStore<pg.PoolClient>({ pool });
  const dure = createDure<pg.PoolClient>({ service: "caller", store, ...more });
  started.push(dure);
  return dure;
}

const through = (around: Around): pg.Pool =>
  wrapPool(database.pool, { alone: around, onClient: around });

const two = { permits: 2, lineMax: 3, waitMs: 10_000 };
const lineOf = async (dure: Dure<pg.PoolClient>, name = "provider"): Promise<number> =>
  (await dure.semaphores.list()).find((each) => each.name === name)?.waiting ?? 0;
const waits = (dure: Dure<pg.PoolClient>, count: number) =>
  waitFor(async () => (await lineOf(dure)) === count, { what: `a line of ${count}` });

describe("permits", () => {
  it("are N at once over two processes, come back when the work fails, and the line is served in the order of asking", async () => {
    const [first, second] = [service(), service()];
    const served: number[] = [];
    const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    const work: Promise<unknown>[] = [];
    for (const [n, gate] of gates.entries()) {
      const dure = n % 2 === 0 ? first : second;
      const begun = dure.semaphores.withPermit("provider", two, async () => {
        served.push(n);
        await gate.promise;
        throw new Error(`work ${n}`);
      });
      work.push(begun.catch((error: Error) => error.message));
      // The order of asking is what is said here, and not who was quicker.
      if (n < 2) await waitFor(() => served.length === n + 1, { what: "a permit" });
      else await waits(first, n - 1);
    }
    expect(served).toEqual([0, 1]);
    for (const n of [1, 0, 2, 3, 4]) {
      const before = served.length;
      gates[n]?.resolve();
      expect(await work[n]).toBe(`work ${n}`);
      if (before < 5) await waitFor(() => served.length === before + 1, { what: "the next" });
    }
    expect(served).toEqual([0, 1, 2, 3, 4]);
    const [status] = await first.semaphores.list();
    expect(status).toMatchObject({ held: 0, waiting: 0, permits: 2, lineMax: 3, isSet: false });
    const counts = [first, second].map(({ semaphores }) => semaphores.counts()["provider"]);
    expect(counts.reduce((sum, each) => sum + (each?.granted ?? 0), 0)).toBe(5);
    expect(counts.reduce((sum, each) => sum + (each?.waited ?? 0), 0)).toBe(3);
  });

  it("are refused at once when the line is full, saying how long it is, and after waitMs, saying from which place", async () => {
    const dure = service();
    const size = { permits: 1, lineMax: 2 };
    await using held = await dure.semaphores.acquire("provider", size);
    expect(held.signal.aborted).toBe(false);
    const waiting = [1, 2].map(async (n) => {
      await waits(dure, n - 1);
      const patient = { ...size, waitMs: n === 1 ? 1_500 : 60_000, signal: stop.signal };
      return dure.semaphores.acquire("provider", patient).catch((error: unknown) => error);
    });
    await waits(dure, 2);
    const shed = await dure.semaphores.acquire("provider", size).catch((error: unknown) => error);
    expect(shed).toMatchObject({ code: "SEMAPHORE_LINE_FULL", position: 3, lineLength: 2 });
    expect(shed).toBeInstanceOf(SemaphoreBusyError);
    const late = await waiting[0];
    expect(late).toMatchObject({ code: "PERMIT_TIMED_OUT", position: 1, semaphore: "provider" });
    expect(await lineOf(dure)).toBe(1);
    stop.abort(new Error("enough"));
    expect(await waiting[1]).toEqual(new Error("enough"));
    expect(await lineOf(dure)).toBe(0);
    const unwilling = dure.semaphores.acquire("provider", { ...size, waitMs: 0 });
    await expect(unwilling).rejects.toMatchObject({ code: "PERMIT_TIMED_OUT", position: 1 });
    expect(dure.semaphores.counts()["provider"]).toMatchObject({ shed: 1, timedOut: 2 });
  });
  const stop = new AbortController();

  it("are handed on within moments by notification, and without it by looking", async () => {
    const looksRarely = { semaphores: { pollMsMin: 60_000, pollMsMax: 60_000 } };
    const [holder, told] = [service(), service(looksRarely)];
    const one = { permits: 1, lineMax: 3, waitMs: 20_000 };
    for (let round = 0; round < 5; round += 1) {
      const held = await holder.semaphores.acquire("provider", one);
      const next = told.semaphores.acquire("provider", one);
      await waits(holder, 1);
      if (round === 0) await untilListening(database.pool);
      await held.release();
      await (await next).release();
    }
    // Nobody tells this one anything: its NOTIFY and LISTEN are lost.
    const deaf = through((text, run) =>
      /listen |pg_notify/.test(text) ? Promise.reject(new Error("deaf")) : run(),
    );
    const looks = service({}, deaf);
    const held = await holder.semaphores.acquire("provider", one);
    const next = looks.semaphores.acquire("provider", one);
    await waits(holder, 1);
    await held.release();
    await (await next).release();
  });

  it("that a lost answer has left behind are found and given back", async () => {
    let isLossy = false;
    const lossy = through(async (text, run) => {
      const result = await run();
      const isOne = /dure:semaphore\.(?:acquire|release)/.test(text);
      if (isLossy && isOne) throw new Error("Connection terminated unexpectedly");
      return result;
    });
    const dure = service({ semaphores: { leaseMs: 900 } }, lossy);
    const size = { permits: 3, lineMax: 0 };
    // It keeps the membership alive, so that no lease gives back what was lost.
    await using _ = await dure.semaphores.acquire("provider", size);
    const returned = await dure.semaphores.acquire("provider", size);
    isLossy = true;
    await expect(dure.semaphores.acquire("provider", size)).rejects.toThrow("terminated");
    await returned.release();
    isLossy = false;
    await waitFor(async () => (await dure.semaphores.list())[0]?.held === 1, { what: "one held" });
    const { rows } = await database.pool.query(
      "select from dure.semaphore_member where fenced_at is null",
    );
    expect(rows).toHaveLength(1);
  });
});

describe("a lease", () => {
  it("that cannot be renewed aborts the signals before the permit is given to another", async () => {
    let isCut = false;
    const cut = through((text, run) =>
      isCut && text.includes("semaphore") ? Promise.reject(new Error("cut off")) : run(),
    );
    const [holder, other] = [service({ semaphores: { leaseMs: 1_500 } }, cut), service()];
    const one = { permits: 1, lineMax: 1, waitMs: 20_000 };
    const permit = await holder.semaphores.acquire("provider", one);
    const { signal } = permit;
    const next = other.semaphores.acquire("provider", one).then((given) => {
      return { given, wasAborted: signal.aborted };
    });
    await waits(other, 1);
    isCut = true;
    const { given, wasAborted } = await next;
    expect(wasAborted).toBe(true);
    expect(isDureError(signal.reason, "PERMIT_LOST")).toBe(true);
    await given.release();
    isCut = false;
    await permit.release();
    // It joins anew, as another member.
    await (await holder.semaphores.acquire("provider", one)).release();
    expect(holder.semaphores.counts()["provider"]).toMatchObject({ granted: 2, lost: 1 });
  });

  it("is renewed for as long as a permit is held, and by nobody who holds none", async () => {
    const dure = service({ semaphores: { leaseMs: 500 } });
    const one = { permits: 1, lineMax: 1 };
    const held = await dure.semaphores.acquire("provider", one);
    const until = async (): Promise<number> => {
      const { rows } = await database.pool.query<{ until: number }>(
        "select extract(epoch from lease_until)::float8 as until from dure.semaphore_member",
      );
      return rows[0]?.until ?? 0;
    };
    const first = await until();
    await waitFor(async () => (await until()) > first + 1, { what: "renewals" });
    expect(held.signal.aborted).toBe(false);
    await held.release();
    const last = await until();
    await waitFor(
      async () =>
        (await database.pool.query("select where clock_timestamp() > to_timestamp($1)", [last + 1]))
          .rowCount === 1,
      { what: "the lease's end" },
    );
    expect(await until()).toBe(last);
  });
});

describe("the service", () => {
  it("refuses options that cannot be used, all at once, and two sizes for one name", async () => {
    const { semaphores } = service();
    const bad = semaphores.acquire("no spaces", { permits: 0, lineMax: -1, waitMs: 0.5 });
    await expect(bad).rejects.toThrow(/name: .*permits: .*lineMax: .*waitMs: /);
    await (await semaphores.acquire("provider", two)).release();
    const other = semaphores.acquire("provider", { ...two, permits: 3 });
    await expect(other).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
    expect(() => service({ semaphores: { leaseMs: 1 } })).toThrow("semaphores.leaseMs");
  });

  it("that stops lets nobody in any more, waits for what is held, and gives its places back", async () => {
    const [dure, other] = [service(), service()];
    const one = { permits: 1, lineMax: 5, waitMs: 20_000 };
    const held = await dure.semaphores.acquire("provider", one);
    const waiting = dure.semaphores.acquire("provider", one).catch((error: unknown) => error);
    await waits(other, 1);
    const stopped = dure.stop();
    expect(await waiting).toMatchObject({ code: "STOPPED" });
    expect(held.signal.aborted).toBe(false);
    await held.release();
    expect(await stopped).toBe(true);
    await expect(dure.semaphores.acquire("provider", one)).rejects.toMatchObject({
      code: "STOPPED",
    });
    await (await other.semaphores.acquire("provider", { ...one, waitMs: 0 })).release();
    const { rows } = await database.pool.query("select from dure.semaphore_member");
    expect(rows).toHaveLength(1);
  });
});

/** The self-test has gone round: from then on news arrives. */
async function untilListening(pool: pg.Pool): Promise<void> {
  await waitFor(
    async () =>
      (
        await pool.query(
          `select from pg_stat_activity where datname = current_database() and query ilike 'listen dure%' and state = 'idle'`,
        )
      ).rowCount === 2,
    { what: "both to listen" },
  );
}
