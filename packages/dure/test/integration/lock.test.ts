/**
 * A lock encloses the transaction: it is not free before the commit, and a lease that was lost commits nothing
 * (laws L1, L2, L3 and L5, in the service's own database).
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDure } from "../../src/index.ts";
import type { Dure } from "../../src/index.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

let database: TestDatabase;
let one: Dure;
let other: Dure;
const by = { actor: "ann", reason: "test" };

beforeAll(async () => {
  database = await createTestDatabase({ name: "lock", poolSizeMax: 20 });
  await database.pool.query("create table seat (id text primary key, taken_by text)");
  one = createDure({ service: "one", store: postgresStore({ pool: database.pool }) });
  other = createDure({ service: "other", store: postgresStore({ pool: database.pool }) });
});
afterAll(async () => {
  await one?.stop();
  await other?.stop();
  await database?.[Symbol.asyncDispose]();
});
let key = "";
let n = 0;
beforeEach(() => {
  key = `room:${(n += 1)}`;
});

async function takenBy(id: string): Promise<string | undefined> {
  const { rows } = await database.pool.query<{ taken_by: string }>(
    "select taken_by from seat where id = $1",
    [id],
  );
  return rows[0]?.taken_by;
}

describe("withLock", () => {
  it("commits and releases in one moment: whoever has the lock next sees what was written", async () => {
    const inside = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const first = one.locks.withLock(key, {}, async ({ tx, token }) => {
      await tx.query("insert into seat values ($1, 'first')", [key]);
      inside.resolve();
      await goOn.promise;
      return token;
    });
    await inside.promise;
    expect(await other.locks.tryAcquire(key)).toBeUndefined();
    const second = other.locks.withLock(key, {}, async ({ tx, token }) => {
      const { rows } = await tx.query("select taken_by from seat where id = $1", [key]);
      return { seen: rows[0]?.["taken_by"], token };
    });
    goOn.resolve();
    const token = await first;
    const { seen, token: later } = await second;
    expect(seen).toBe("first");
    expect(later).toBeGreaterThan(token);
    expect(await one.locks.list({ prefix: key })).toEqual([]);
  });

  it("rolls back and releases when the work throws", async () => {
    const failing = one.locks.withLock(key, {}, async ({ tx }) => {
      await tx.query("insert into seat values ($1, 'first')", [key]);
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(await takenBy(key)).toBeUndefined();
    await using lease = await other.locks.tryAcquire(key);
    expect(lease?.isHeld).toBe(true);
  });

  it("commits nothing when an operator gave the lock away, and nothing of it is there", async () => {
    const losing = one.locks.withLock(key, {}, async ({ tx }) => {
      await tx.query("insert into seat values ($1, 'first')", [key]);
      expect(await other.locks.forceRelease(key, by)).toBe(true);
      expect(await other.locks.forceRelease(key, by)).toBe(false);
      await using lease = await other.locks.tryAcquire(key);
      expect(lease?.isHeld).toBe(true);
    });
    await expect(losing).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await takenBy(key)).toBeUndefined();
    const { rows } = await database.pool.query(
      "select actor, action, reason from dure.audit_entry where subject = $1",
      [`lock/${key}`],
    );
    expect(rows).toEqual([{ actor: "ann", action: "lock.release", reason: "test" }]);
  });

  it("is refused inside itself, at once", async () => {
    const nested = one.locks.withLock(key, {}, () => one.locks.withLock(key, {}, async () => 1));
    await expect(nested).rejects.toMatchObject({ code: "LOCK_REENTERED" });
    const outliving = Promise.withResolvers<() => Promise<number>>();
    const ended = Promise.withResolvers<void>();
    const later = one.locks.withLock(key, {}, async () => {
      const work = ended.promise.then(() => one.locks.withLock(key, {}, async () => 2));
      outliving.resolve(() => work);
    });
    await later;
    ended.resolve();
    expect(await (await outliving.promise)()).toBe(2);
  });

  it("gives lock and transaction up when the transaction takes too long", async () => {
    const slow = one.locks.withLock(key, { transactionMsMax: 300 }, async ({ tx, signal }) => {
      await tx.query("insert into seat values ($1, 'slow')", [key]);
      await tx.query("select pg_sleep(20)");
      signal.throwIfAborted();
    });
    await expect(slow).rejects.toMatchObject({ code: "TRANSACTION_TIMED_OUT" });
    expect(await takenBy(key)).toBeUndefined();
  });
});

describe("a lease", () => {
  it("is waited for no longer than said", async () => {
    await using _lease = await one.locks.acquire(key);
    const waiting = other.locks.acquire(key, { waitMs: 100 });
    await expect(waiting).rejects.toMatchObject({ code: "LOCK_TIMED_OUT" });
    const given = new AbortController();
    const aborted = other.locks.acquire(key, { signal: given.signal });
    given.abort(new Error("closing"));
    await expect(aborted).rejects.toThrow("closing");
  });

  it("is renewed while it is held, and aborts its holder when it was taken away", async () => {
    await using lease = await one.locks.acquire(key, { leaseMs: 1_000 });
    const before = await one.locks.list({ prefix: key });
    const acquiredAt = performance.now();
    await waitFor(() => performance.now() - acquiredAt > 2_200, { what: "two leases" });
    expect(lease.isHeld).toBe(true);
    expect(before[0]).toMatchObject({ key, token: lease.token, holder: lease.holder });
    await other.locks.forceRelease(key, by);
    await waitFor(() => lease.signal.aborted, { what: "the signal" });
    expect(lease.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    expect(await lease.release()).toBe(false);
  });

  it("of another is not released, nor renewed", async () => {
    const lease = await one.locks.acquire(key, { leaseMs: 300 });
    await other.locks.forceRelease(key, by);
    await using next = await other.locks.acquire(key);
    expect(await lease.release()).toBe(false);
    expect(next.isHeld).toBe(true);
    expect(await one.locks.list({ prefix: key })).toMatchObject([{ holder: next.holder }]);
    expect(next.token).toBeGreaterThan(lease.token);
  });

  it("goes to those of one process who wait in the order in which they came", async () => {
    const lease = await one.locks.acquire(key);
    const order: number[] = [];
    const waiting = [1, 2, 3, 4, 5].map(async (place) => {
      await using _lease = await other.locks.acquire(key);
      order.push(place);
    });
    await lease.release();
    await Promise.all(waiting);
    expect(order).toEqual([1, 2, 3, 4, 5]);
  });

  it("counts tokens that only grow, also when its row was removed", async () => {
    const tokens: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      await using lease = await one.locks.acquire(key);
      tokens.push(lease.token);
      await lease.release();
      await database.pool.query("delete from dure.lock_lease where key = $1", [key]);
    }
    expect(tokens).toEqual(tokens.toSorted((a, b) => a - b));
    expect(new Set(tokens).size).toBe(5);
  });
});

describe("a leader", () => {
  it("is one, and nobody follows before the least time is over", async () => {
    const outcome = await one.locks.lead(key, { atLeastMs: 700, atMostMs: 5_000 }, async () => 1);
    expect(outcome).toEqual({ kind: "led", result: 1 });
    const [held] = await one.locks.list({ prefix: key });
    expect(held?.remainingMs).toBeLessThanOrEqual(700);
    const rival = () => other.locks.lead(key, {}, async () => 2);
    expect(await rival()).toEqual({ kind: "not-leading" });
    await waitFor(async () => (await rival()).kind === "led", { what: "the next leader" });
  });

  it("is stopped when it has led for as long as it may, and another leads", async () => {
    const options = { atLeastMs: 0, atMostMs: 300 };
    const outcome = await one.locks.lead(key, options, async ({ signal, token }) => {
      await waitFor(() => signal.aborted, { what: "the end of the lead" });
      const next = async () => other.locks.lead(key, options, async (lead) => lead.token);
      const led = await waitFor(
        async () => {
          const found = await next();
          return found.kind === "led" && found;
        },
        { what: "the next leader" },
      );
      return led.result > token;
    });
    expect(outcome).toEqual({ kind: "led", result: true });
  });

  it("does what is to be done for all of them, again and again", async () => {
    const stop = new AbortController();
    let under = 0;
    let most = 0;
    let runs = 0;
    const work = async () => {
      most = Math.max(most, (under += 1));
      runs += 1;
      await database.pool.query("select pg_sleep(0.01)");
      under -= 1;
      if (runs === 3) throw new Error("once");
    };
    const options = { everyMs: 5, atLeastMs: 0, atMostMs: 5_000 };
    const loops = [one, other].map((dure) => dure.locks.leadEvery(key, options, work, stop.signal));
    await waitFor(() => runs > 20, { what: "twenty runs" });
    stop.abort();
    await Promise.all(loops);
    expect(most).toBe(1);
  });
});
