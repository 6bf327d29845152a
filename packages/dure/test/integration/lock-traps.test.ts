/**
 * The ten classic traps of Redis locks: how the usual recipe falls in, and what becomes of it here. Each has a
 * paragraph of the same number in docs/guides/ten-traps-of-locks.md.
 */
import { createClient } from "redis";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDure, systemClock } from "../../src/index.ts";
import type { Dure, TransactionHandle } from "../../src/index.ts";
import type { Lease } from "../../src/lock/index.ts";
import { postgresLockGuard, postgresStore } from "../../src/postgres/index.ts";
import { redisLockStore } from "../../src/redis/index.ts";
import {
  findRedisServer,
  type RedisServer,
  startRedisServer,
} from "../../../../tools/servers/redis.ts";
import { naiveRedisLock } from "../naive/redis-lock.ts";
import { needRedis, ownRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";

type Client = ReturnType<typeof createClient>;

const guard = postgresLockGuard();
let database: TestDatabase;
let redis: TestRedis | undefined;
let client: Client;
let one: Dure;
let other: Dure;
let key = "";
let count = 0;

beforeAll(async () => {
  database = await createTestDatabase({ name: "lock_traps", poolSizeMax: 20 });
  await database.pool.query("create table counter (id text primary key, value int not null)");
  redis = await startTestRedis();
  if (redis === undefined) return;
  client = await connect(redis.url);
  one = service("one", client);
  other = service("other", client);
});
afterAll(async () => {
  await one?.stop();
  await other?.stop();
  client?.destroy();
  await redis?.[Symbol.asyncDispose]();
  await database?.[Symbol.asyncDispose]();
});
beforeEach(async (context) => {
  needRedis(context, redis);
  key = `trap:${process.pid}:${(count += 1)}`;
  await database.pool.query("insert into counter values ($1, 0)", [key]);
});

async function connect(url: string): Promise<Client> {
  const connecting = createClient({ url }).on("error", () => {});
  return (await connecting.connect()) as Client;
}

function service(name: string, redisClient: Client, clock = systemClock): Dure {
  const store = postgresStore({ pool: database.pool });
  return createDure({
    service: name,
    store,
    clock,
    locks: { store: redisLockStore({ client: redisClient }) },
  });
}

async function read(tx: TransactionHandle = database.pool): Promise<number> {
  const { rows } = await tx.query("select value from counter where id = $1", [key]);
  return Number(rows[0]?.["value"]);
}

async function write(value: number, tx: TransactionHandle = database.pool): Promise<void> {
  await tx.query("update counter set value = $1 where id = $2", [value, key]);
}

/** Reads, lets something happen, and writes one more under the lock. */
function increment(dure: Dure, meanwhile: () => Promise<unknown> = async () => {}): Promise<void> {
  return dure.locks.withLock(key, { leaseMs: 1_000, waitMs: 10_000 }, async ({ tx }) => {
    const value = await read(tx);
    await meanwhile();
    await write(value + 1, tx);
  });
}

/** What the holder of this lease still wants to write, as `withLock` guards it, is refused. */
async function expectRefused({ token, holder }: Lease): Promise<void> {
  const late = one.transaction(async (tx) => {
    await guard.assertNewest(tx, { resource: `lock:${key}`, token, holder });
    await write(-1, tx);
  });
  await expect(late).rejects.toMatchObject({ code: "FENCED" });
}

describe("1. released before the commit", () => {
  it("loses an update where the lock is given back first", async () => {
    const naive = naiveRedisLock(client, { leaseMs: 10_000 });
    const first = await database.pool.connect();
    await naive.lock(key);
    await first.query("begin");
    await write((await read(first)) + 1, first);
    await naive.unlock(key);
    expect(await naive.lock(key)).toBe(true);
    const seen = await read();
    await first.query("commit");
    first.release();
    await write(seen + 1);
    expect(await read()).toBe(1);
  });

  it("cannot be written so here: whoever waits for the lock reads what was committed", async () => {
    let second: Promise<void> | undefined;
    await increment(one, async () => {
      second = increment(other);
      expect(await other.locks.tryAcquire(key)).toBeUndefined();
    });
    await second;
    expect(await read()).toBe(2);
  });
});

describe("1. and what lies between a lock elsewhere and the commit here", () => {
  it("keeps others from the guard before anything is read, until the commit", async () => {
    await increment(one);
    const text = "select from dure.lock_guard where resource = $1 for update skip locked";
    const unlocked = async () => (await database.pool.query(text, [`lock:${key}`])).rows.length;
    expect(await unlocked()).toBe(1);
    const during = await one.locks.withLock(key, {}, () => unlocked());
    expect(during).toBe(0);
  });
});

describe("2. released by another", () => {
  it("gives a third one the lock where nobody asks whose it is", async () => {
    const naive = naiveRedisLock(client, { leaseMs: 20 });
    await naive.lock(key);
    await waitFor(() => naive.lock(key), { what: "the end of the lease" });
    await naive.unlock(key);
    expect(await naive.lock(key)).toBe(true);
  });

  it("does nothing to the next holder here", async () => {
    const lease = await one.locks.acquire(key, { leaseMs: 5_000 });
    await other.locks.forceRelease(key, { actor: "ann", reason: "it hangs" });
    await using next = await other.locks.acquire(key);
    expect(await lease.release()).toBe(false);
    expect(await one.locks.list({ prefix: key })).toMatchObject([{ holder: next.holder }]);
  });
});

describe("3. no expiry", () => {
  it("is held for ever by a holder that died", async () => {
    const naive = naiveRedisLock(client);
    await naive.lock(key);
    expect(await client.pTTL(key)).toBe(-1);
    await client.del(key);
  });

  it("is free again here when its lease is over", async () => {
    // A process that died right after it was granted the lock, and renews nothing.
    const store = redisLockStore({ client });
    await store.acquire({ key, holder: "dead", label: "dead", leaseMs: 200, waitMs: 0 });
    await using lease = await one.locks.acquire(key);
    expect(lease.isHeld).toBe(true);
  });
});

describe("4. expired while working", () => {
  it("has two holders at work where nobody renews", async () => {
    const naive = naiveRedisLock(client, { leaseMs: 20 });
    expect(await naive.lock(key)).toBe(true);
    expect(await waitFor(() => naive.lock(key), { what: "the second holder" })).toBe(true);
  });

  it("is renewed here for as long as the work goes on", async () => {
    await using lease = await one.locks.acquire(key, { leaseMs: 1_000 });
    await expect(other.locks.acquire(key, { waitMs: 2_200 })).rejects.toMatchObject({
      code: "LOCK_TIMED_OUT",
    });
    expect(lease.isHeld).toBe(true);
  });
});

describe("5. the watchdog is dead, or never dies", () => {
  it("aborts the holder whose renewals do not arrive, and its write does not count", async (context) => {
    const server = ownRedis(context, redis);
    const lost = one.locks.withLock(key, { leaseMs: 900 }, async ({ tx, signal }) => {
      server.freeze();
      await waitFor(() => signal.aborted, { what: "the loss" });
      server.thaw();
      await write(1, tx);
    });
    await expect(lost).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await read()).toBe(0);
  });

  it("stops renewing what is held for too long", async () => {
    const lease = await one.locks.acquire(key, { leaseMs: 1_000, holdMsMax: 1_900 });
    await waitFor(() => lease.signal.aborted, { what: "the end of the holding" });
    await using next = await other.locks.acquire(key);
    expect(next.token).toBeGreaterThan(lease.token);
  });
});

describe("6. the clock is set back", () => {
  it("gives a smaller token where the time is the token, and a greater one here", async () => {
    const [seconds = "0"] = (await client.sendCommand(["TIME"])) as string[];
    // An hour ahead: granted before Redis's clock was set back.
    const before = (Number(seconds) + 3_600) * 1e6;
    const name = `dure:lock:{${encodeURIComponent(key)}}:token`;
    await client.set(name, String(before));
    expect(Number(seconds) * 1e6).toBeLessThan(before);
    await using lease = await one.locks.acquire(key);
    expect(lease.token).toBe(before + 1);
  });

  it("of a holder means nothing here", async () => {
    const past = { ...systemClock, now: () => 0 };
    const dure = service("past", client, past);
    await using lease = await dure.locks.acquire(key, { leaseMs: 600 });
    await expect(other.locks.acquire(key, { waitMs: 1_300 })).rejects.toThrow();
    expect(lease.isHeld).toBe(true);
    await other.locks.forceRelease(key, { actor: "ann", reason: "test" });
    await waitFor(() => lease.signal.aborted, { what: "the loss" });
    await dure.stop();
  });
});

describe("7. failover", () => {
  it("gives the lock twice, as with any copy that lags; but the older token writes nothing", async (context) => {
    if ((await findRedisServer()) === undefined) needRedis(context, undefined);
    // A copy is waited for; by default Redis waits for five seconds before it begins one.
    await using primary = await startRedisServer({ settings: { "repl-diskless-sync-delay": "0" } });
    const settings = { replicaof: `127.0.0.1 ${primary.port}` };
    await using replica = await startRedisServer({ settings });
    const clients = [await connect(primary.url), await connect(replica.url)] as const;
    const [first, second] = [service("first", clients[0]), service("second", clients[1])];
    await waitFor(async () => (await clients[1].info("replication")).includes("status:up"), {
      what: "the replica",
    });
    const old = await promoteWhatLags({ primary, to: clients[1] }, () =>
      first.locks.acquire(key, { leaseMs: 30_000 }),
    );
    await increment(second);
    expect(old.isHeld).toBe(true);
    await expectRefused(old);
    expect(await read()).toBe(1);
    for (const each of clients) each.destroy();
    await old[Symbol.asyncDispose]();
    await Promise.all([first.stop(), second.stop()]);
  });
});

/** The replica hears nothing more, the primary grants a lock and dies, the replica becomes the primary. */
async function promoteWhatLags<Result>(
  { primary, to }: { readonly primary: RedisServer; readonly to: Client },
  grant: () => Promise<Result>,
): Promise<Result> {
  // The network between them is cut. A frozen replica would read later what was sent to it.
  await to.sendCommand(["REPLICAOF", "127.0.0.1", "1"]);
  const granted = await grant();
  await primary.kill();
  await to.sendCommand(["REPLICAOF", "NO", "ONE"]);
  return granted;
}

describe("8. data lost", () => {
  it("counts tokens from the beginning where Redis was the only one who knew", async (context) => {
    const server = ownRedis(context, redis);
    const naive = naiveRedisLock(client);
    await naive.nextToken(key);
    const before = await naive.nextToken(key);
    await server.flush();
    expect(await naive.nextToken(key)).toBeLessThan(before);
  });

  it("goes on with greater tokens here, and who held the lock before writes nothing", async (context) => {
    const server = ownRedis(context, redis);
    const old = await one.locks.acquire(key, { leaseMs: 30_000 });
    await server.flush();
    await using next = await other.locks.acquire(key, { leaseMs: 1_000 });
    expect(next.token).toBeGreaterThan(old.token);
    await next.release();
    await increment(other);
    await expectRefused(old);
    expect(await old.release()).toBe(false);
  });

  it("lets no transaction begin under an older token than was written with", async () => {
    const newest = { resource: `lock:${key}`, token: Number.MAX_SAFE_INTEGER, holder: "later" };
    await one.transaction((tx) => guard.assertNewest(tx, newest));
    await expect(increment(one)).rejects.toMatchObject({ code: "FENCED" });
    expect(await read()).toBe(0);
  });

  it("tells the holder with its next renewal", async (context) => {
    const server = ownRedis(context, redis);
    await using lease = await one.locks.acquire(key, { leaseMs: 600 });
    await server.flush();
    await waitFor(() => lease.signal.aborted, { what: "the loss" });
    expect(lease.signal.reason).toMatchObject({ code: "LEASE_LOST" });
  });
});

describe("9. re-entrance", () => {
  it("waits for itself where nobody notices, and is refused here at once", async () => {
    const naive = naiveRedisLock(client, { leaseMs: 10_000 });
    await naive.lock(key);
    expect(await naive.lock(key)).toBe(false);
    await naive.unlock(key);
    const nested = one.locks.withLock(key, {}, () => increment(one));
    await expect(nested).rejects.toMatchObject({ code: "LOCK_REENTERED" });
  });
});

describe("10. the event loop is blocked", () => {
  it("shows at once on the clock, then on the signal; and the write of who did not look is refused", async () => {
    const lease = await one.locks.acquire(key, { leaseMs: 300 });
    // Nothing of this process runs: no timer, no renewal.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 450);
    const believed = { byClock: lease.isHeld, bySignal: !lease.signal.aborted };
    expect(believed).toEqual({ byClock: false, bySignal: true });
    await increment(other);
    expect(lease.signal.aborted).toBe(true);
    await expectRefused(lease);
    expect(await read()).toBe(1);
  });
});
