/** A semantic lock has one owner at a time, who is asked for with every change, until the database's clock says that it is over (product B4). */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { HeldLock } from "../../src/isolation/index.ts";
import { postgresSemanticLocks } from "../../src/postgres/index.ts";
import type { TransactionHandle } from "../../src/index.ts";
import { lookThenLock, naiveLockTable } from "../naive/look-then-lock.ts";
import { releaseUnasked } from "../naive/release-unasked.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { countKinds, inTransaction, meeting } from "./isolation-fixture.ts";

let database: TestDatabase;
const locks = postgresSemanticLocks();

beforeAll(async () => {
  database = await createTestDatabase({ name: "semantic_lock", poolSizeMax: 16 });
  await database.pool.query(naiveLockTable);
});
afterAll(() => database?.[Symbol.asyncDispose]());

const run = <Result>(work: (tx: TransactionHandle) => Promise<Result>) =>
  inTransaction(database.pool, work);

const acquire = (resource: string, owner: string, leaseMs?: number) =>
  run((tx) =>
    locks.acquire(tx, leaseMs === undefined ? { resource, owner } : { resource, owner, leaseMs }),
  );

/** Takes the lock for a moment, and comes back when the database says that the moment is over. */
async function acquireAndExpire(resource: string, owner: string): Promise<HeldLock> {
  const outcome = await acquire(resource, owner, 1);
  if (outcome.kind !== "acquired") throw new Error(`${resource} was ${outcome.kind}`);
  const isOver = async () =>
    ((await locks.read(database.pool, { resource }))?.remainingMs ?? 0) < 0;
  await waitFor(isOver, { what: "the end of a millisecond", intervalMs: 2 });
  return outcome.lock;
}

/** The kinds of the answers to every change that there is. */
async function tryAllChanges(claim: HeldLock): Promise<readonly string[]> {
  const changes = ["confirm", "renew", "verify", "release"] as const;
  const kinds: string[] = [];
  for (const change of changes)
    kinds.push(await run(async (tx) => (await locks[change](tx, claim)).kind));
  return kinds;
}

describe("a semantic lock", () => {
  it("goes from AVAILABLE over RESERVING to RESERVED and back, and its token only grows", async () => {
    const request = { resource: "room:1", owner: "SAGA-1" };
    expect(await locks.read(database.pool, request)).toBeUndefined();
    const first = await acquire(request.resource, request.owner);
    expect(first).toMatchObject({ kind: "acquired", lock: { state: "RESERVING", token: 1 } });
    const again = await acquire(request.resource, request.owner);
    expect(again).toMatchObject({ kind: "already-yours", lock: { token: 1 } });
    const claim = { ...request, token: 1 };
    expect(await run((tx) => locks.confirm(tx, claim))).toMatchObject({
      kind: "confirmed",
      lock: { state: "RESERVED", expiresAt: undefined },
    });
    expect(await run((tx) => locks.release(tx, claim))).toMatchObject({ kind: "released" });
    expect(await run((tx) => locks.release(tx, claim))).toEqual({ kind: "not-held" });
    expect(await locks.read(database.pool, request)).toBeUndefined();
    expect(await acquire(request.resource, "SAGA-2")).toMatchObject({ lock: { token: 2 } });
  });

  it("that another holds names him and the time, so that nobody reads it as out of stock", async () => {
    await acquire("room:2", "SAGA-1");
    const outcome = await acquire("room:2", "SAGA-2");
    expect(outcome).toMatchObject({
      kind: "held-by-another",
      lock: { owner: "SAGA-1", state: "RESERVING" },
    });
    const { lock } = outcome as { readonly lock: HeldLock };
    expect(lock.remainingMs).toBeGreaterThan(1_790_000);
    expect(lock.remainingMs).toBeLessThanOrEqual(1_800_000);
    expect(Date.parse(lock.expiresAt ?? "") - Date.parse(lock.acquiredAt)).toBe(1_800_000);
  });

  it("that expired can be taken over, who takes it learns from whom, and the old holder can change nothing", async () => {
    const old = await acquireAndExpire("room:3", "SAGA-1");
    const taken = await acquire("room:3", "SAGA-2");
    expect(taken).toMatchObject({
      kind: "acquired",
      lock: { owner: "SAGA-2", token: 2 },
      takenOver: { owner: "SAGA-1", token: 1 },
    });
    expect(await tryAllChanges(old)).toEqual(Array.from({ length: 4 }, () => "held-by-another"));
    expect(await run((tx) => locks.release(tx, { resource: "room:3", owner: "SAGA-1" }))).toEqual(
      expect.objectContaining({ kind: "held-by-another" }),
    );
    expect(await locks.read(database.pool, { resource: "room:3" })).toMatchObject({
      owner: "SAGA-2",
      state: "RESERVING",
    });
  });

  it("that expired and was not taken is refused too, until it is acquired again; a release is welcome", async () => {
    const old = await acquireAndExpire("room:4", "SAGA-1");
    expect(await tryAllChanges(old)).toEqual(["expired", "expired", "expired", "released"]);
  });

  it("of the same owner under a newer token is not touched by an older part of him", async () => {
    const old = await acquireAndExpire("room:5", "SAGA-1");
    expect(await acquire("room:5", "SAGA-1")).toMatchObject({ lock: { token: 2 } });
    expect(await tryAllChanges(old)).toEqual(Array.from({ length: 4 }, () => "superseded"));
  });

  it("is renewed for longer and never for less", async () => {
    const { lock } = (await acquire("room:6", "SAGA-1", 60_000)) as { readonly lock: HeldLock };
    const shorter = await run((tx) => locks.renew(tx, { ...lock, leaseMs: 5 }));
    expect(shorter).toMatchObject({ kind: "renewed", lock: { expiresAt: lock.expiresAt } });
    const longer = await run((tx) => locks.renew(tx, lock));
    expect(longer).toMatchObject({ kind: "renewed" });
    expect((longer as { readonly lock: HeldLock }).lock.remainingMs).toBeGreaterThan(1_700_000);
    const bounded = await run((tx) => locks.confirm(tx, { ...lock, leaseMs: 90_000 }));
    expect(bounded).toMatchObject({ kind: "confirmed", lock: { state: "RESERVED" } });
    expect((bounded as { readonly lock: HeldLock }).lock.remainingMs).toBeLessThanOrEqual(90_000);
  });

  it("goes as its transaction goes", async () => {
    const failing = run(async (tx) => {
      await locks.acquire(tx, { resource: "room:7", owner: "SAGA-1" });
      throw new Error("no funds");
    });
    await expect(failing).rejects.toThrow("no funds");
    expect(await locks.read(database.pool, { resource: "room:7" })).toBeUndefined();
  });

  it("is refused outside a transaction, where it would stand alone", async () => {
    const claim = { resource: "room:8", owner: "SAGA-1", token: 1 };
    const pool = database.pool;
    const attempts = [
      () => locks.acquire(pool, claim),
      () => locks.confirm(pool, claim),
      () => locks.renew(pool, claim),
      () => locks.release(pool, claim),
      () => locks.verify(pool, claim),
      () => locks.sweepExpired(pool),
    ];
    for (const attempt of attempts)
      await expect(attempt()).rejects.toMatchObject({ code: "NOT_IN_TRANSACTION" });
    expect(await locks.read(pool, claim)).toBeUndefined();
  });

  it("that an open transaction has in its hands is waited for no longer than asked, and nothing is lost by it", async () => {
    const [held, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const holding = run(async (tx) => {
      await locks.acquire(tx, { resource: "room:9", owner: "SAGA-1" });
      held.resolve();
      await finish.promise;
    });
    await held.promise;
    const timeouts = await run(async (tx) => {
      await tx.query("set local lock_timeout = '7s'");
      const request = { resource: "room:9", owner: "SAGA-2" };
      expect(await locks.acquire(tx, { ...request, waitMs: 20 })).toEqual({ kind: "busy" });
      expect(await locks.acquire(tx, { ...request, waitMs: 0 })).toEqual({ kind: "busy" });
      // The transaction goes on, with the bound that it had.
      await locks.acquire(tx, { resource: "room:10", owner: "SAGA-2" });
      return (await tx.query("show lock_timeout")).rows;
    });
    expect(timeouts).toEqual([{ lock_timeout: "7s" }]);
    finish.resolve();
    await holding;
    expect(await locks.read(database.pool, { resource: "room:10" })).toMatchObject({
      owner: "SAGA-2",
    });
  });

  it("says all that is wrong with a request at once, and does nothing", async () => {
    const attempt = run((tx) =>
      locks.acquire(tx, { resource: "", owner: "x".repeat(201), leaseMs: 0, waitMs: -1 }),
    );
    await expect(attempt).rejects.toThrow(/resource: .*owner: .*leaseMs: .*waitMs: /);
    const forgotten = { resource: "room:1", owner: "SAGA-1" } as HeldLock;
    await expect(run((tx) => locks.confirm(tx, forgotten))).rejects.toThrow(/token: /);
    await expect(run((tx) => locks.sweepExpired(tx, { limit: 0 }))).rejects.toThrow(/limit: /);
  });
});

describe("of three hundred sagas at the same time", () => {
  it("one gets the resource, also when nobody ever had it, and the others learn its name", async () => {
    const owners = Array.from({ length: 300 }, (_, n) => `SAGA-${n}`);
    const outcomes = await Promise.all(owners.map((owner) => acquire("seat:1", owner)));
    expect(countKinds(outcomes)).toEqual({ acquired: 1, "held-by-another": 299 });
    const names = outcomes.map((outcome) => ("lock" in outcome ? outcome.lock.owner : "?"));
    expect(new Set(names).size).toBe(1);
  });

  it("one takes an expired lock over, under the next token", async () => {
    await acquireAndExpire("seat:2", "SAGA-dead");
    const owners = Array.from({ length: 300 }, (_, n) => `SAGA-${n}`);
    const outcomes = await Promise.all(owners.map((owner) => acquire("seat:2", owner)));
    expect(countKinds(outcomes)).toEqual({ acquired: 1, "held-by-another": 299 });
    const winner = outcomes.find((outcome) => outcome.kind === "acquired");
    expect(winner).toMatchObject({ lock: { token: 2 }, takenOver: { owner: "SAGA-dead" } });
  });
});

describe("a sweeper", () => {
  /** Among those of other tests, the names that begin so. */
  const namesOf = (swept: readonly HeldLock[], prefix: string) =>
    swept.filter(({ resource }) => resource.startsWith(prefix)).map(({ owner }) => owner);

  it("frees what has expired and nothing else, and says whose it was", async () => {
    await acquireAndExpire("swept:1", "SAGA-1");
    await acquire("swept:2", "SAGA-2");
    const { lock } = (await acquire("swept:3", "SAGA-3")) as { readonly lock: HeldLock };
    await run((tx) => locks.confirm(tx, lock));
    const swept = await run((tx) => locks.sweepExpired(tx));
    expect(namesOf(swept, "swept:")).toEqual(["SAGA-1"]);
    expect(swept.find(({ owner }) => owner === "SAGA-1")).toMatchObject({
      resource: "swept:1",
      state: "RESERVING",
      token: 1,
    });
    expect(await run((tx) => locks.sweepExpired(tx))).toEqual([]);
    expect(await acquire("swept:1", "SAGA-4")).toMatchObject({
      kind: "acquired",
      lock: { token: 2 },
    });
  });

  it("that dies has told nobody and freed nothing: the next one does both", async () => {
    await acquireAndExpire("rolled:1", "SAGA-1");
    const dying = run(async (tx) => {
      expect(namesOf(await locks.sweepExpired(tx), "rolled:")).toEqual(["SAGA-1"]);
      throw new Error("died");
    });
    await expect(dying).rejects.toThrow("died");
    expect(namesOf(await run((tx) => locks.sweepExpired(tx)), "rolled:")).toEqual(["SAGA-1"]);
  });

  it("shares the work with others: each of five hundred is told of once, and none waits", async () => {
    await database.pool.query(
      `insert into dure.semantic_lock (resource, state, owner, token, acquired_at, expires_at)
       select 'many:' || n, 'RESERVING', 'SAGA-' || n, 1, now() - interval '1 h', now() - interval '1 s'
       from generate_series(1, 500) n`,
    );
    const told: string[] = [];
    const meet = meeting(8);
    const sweepAll = async (): Promise<void> => {
      await run(async (tx) => {
        told.push(...namesOf(await locks.sweepExpired(tx, { limit: 20 }), "many:"));
        await meet(); // all eight have swept, and none has committed
      });
      for (;;) {
        const swept = await run((tx) => locks.sweepExpired(tx, { limit: 20 }));
        told.push(...namesOf(swept, "many:"));
        if (swept.length === 0) return;
      }
    };
    await Promise.all(Array.from({ length: 8 }, sweepAll));
    expect(told).toHaveLength(500);
    expect(new Set(told).size).toBe(500);
  });

  it("leaves alone what is renewed while it looks", async () => {
    const resource = "late:1";
    const lock = await acquireAndExpire(resource, "SAGA-1");
    await run(async (renewing) => {
      // As a renewal that began in time and commits late leaves it.
      await renewing.query(
        "update dure.semantic_lock set expires_at = clock_timestamp() + interval '1 h' where resource = $1",
        [resource],
      );
      expect(namesOf(await run((tx) => locks.sweepExpired(tx)), "late:")).toEqual([]);
    });
    expect(namesOf(await run((tx) => locks.sweepExpired(tx)), "late:")).toEqual([]);
    expect(await run((tx) => locks.verify(tx, lock))).toMatchObject({ kind: "held" });
  });
});

describe("the naive designs", () => {
  it("looking and then locking gives one room to two, where Dure gives it to one", async () => {
    await database.pool.query("insert into naive_lock values ('room', null, null)");
    const meet = meeting(2);
    const naive = ["SAGA-1", "SAGA-2"].map((owner) =>
      run(async (tx) => {
        const lookedFirst: TransactionHandle = {
          async query(text, params) {
            if (text.startsWith("update")) await meet();
            return tx.query(text, params);
          },
        };
        return lookThenLock(lookedFirst, { resource: "room", owner });
      }),
    );
    expect(await Promise.all(naive)).toEqual(["acquired", "acquired"]);
    const ours = await Promise.all(["SAGA-1", "SAGA-2"].map((owner) => acquire("room:n", owner)));
    expect(countKinds(ours)).toEqual({ acquired: 1, "held-by-another": 1 });
  });

  it("releasing without asking frees the lock of whoever took it over, where Dure refuses", async () => {
    await database.pool.query(
      "insert into naive_lock values ('hall', 'SAGA-1', now() - interval '1 s')",
    );
    const takeOver = (owner: string) => run((tx) => lookThenLock(tx, { resource: "hall", owner }));
    await database.pool.query(
      "update naive_lock set owner = 'SAGA-2', expires_at = now() + interval '1 h' where resource = 'hall'",
    );
    expect(await takeOver("SAGA-3")).toBe("held");
    await run((tx) => releaseUnasked(tx, "hall")); // SAGA-1 wakes up and compensates
    expect(await takeOver("SAGA-3")).toBe("acquired"); // and SAGA-2 believes that it has it

    const old = await acquireAndExpire("hall:1", "SAGA-1");
    await acquire("hall:1", "SAGA-2");
    expect(await run((tx) => locks.release(tx, old))).toMatchObject({ kind: "held-by-another" });
    expect(await acquire("hall:1", "SAGA-3")).toMatchObject({ lock: { owner: "SAGA-2" } });
  });
});
