/**
 * What several processes saw of locks is explained by one order, though they are frozen for longer than their leases
 * (laws L1, L3 and L5): nobody is granted what another may still hold, tokens grow, who believes that it holds a lock
 * does, and of what was written under guards nothing is lost.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/index.ts";
import { checkLinearizable, type Operation } from "../support/linearizability.ts";
import {
  type LeaseAnswered,
  type LeaseAsked,
  leaseModel,
  registerModel,
  type WriteAsked,
} from "../support/lock-models.ts";
import { needRedis, startTestRedis, type TestRedis } from "../support/redis-server.ts";
import { spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import type { LockChildMessage, LockChildPlan, WorkKind } from "./lock-child.ts";

const leaseMs = 600;
const processCount = 4;

type Write = Operation<WriteAsked, { isWritten: boolean }>;

/** All that the processes said, key by key. */
interface History {
  readonly leases: ReadonlyMap<string, readonly Operation<LeaseAsked, LeaseAnswered>[]>;
  readonly writes: ReadonlyMap<string, readonly Write[]>;
  readonly refusals: readonly string[];
  readonly freezes: number;
}

let database: TestDatabase;
let redis: TestRedis | undefined;

beforeAll(async () => {
  redis = await startTestRedis();
});
afterAll(() => redis?.[Symbol.asyncDispose]());
beforeEach(async () => {
  database = await createTestDatabase({ name: "lock_history" });
  await database.pool.query(
    "create table counter (id text primary key, value bigint not null, fencing_token bigint, holder text)",
  );
  return () => database[Symbol.asyncDispose]();
});

async function run(
  kinds: readonly WorkKind[],
  { rounds, redisUrl }: { rounds: number; redisUrl?: string | undefined },
): Promise<History> {
  const keys = kinds.map((kind) => ({ kind, key: `${kind} of ${database.name}` }));
  for (const { key } of keys) {
    await database.pool.query("insert into counter values ($1, 0)", [key]);
  }
  const children = Array.from({ length: processCount }, (_, n) => {
    const plan: LockChildPlan = {
      name: `process-${n}`,
      url: database.url,
      redisUrl,
      keys,
      rounds,
      leaseMs,
    };
    return spawnChild(new URL("lock-child.ts", import.meta.url), {
      env: { DURE_CHILD_PLAN: JSON.stringify(plan) },
    });
  });
  try {
    const freezes = await Promise.all(children.map(freezeNowAndThen));
    return { ...collect(children), freezes: freezes.reduce((sum, count) => sum + count, 0) };
  } finally {
    await Promise.all(children.map((child) => child[Symbol.asyncDispose]()));
  }
}

/** Freezes it between its read and its write, each fourth time, for longer than a lease. */
async function freezeNowAndThen(child: SpawnedChild): Promise<number> {
  let seen = 0;
  let freezes = 0;
  for (;;) {
    const inside = () => child.lines.findIndex((line, n) => n >= seen && line.includes('"inside"'));
    const isOver = () => child.lines.some((line) => line.includes('"isDone"'));
    await waitFor(() => inside() >= 0 || isOver(), {
      what: `news of a child: ${child.stderr()}`,
      timeoutMs: 60_000,
      intervalMs: 2,
    });
    if (isOver()) {
      await child.waitForExit({ timeoutMs: 30_000 });
      return freezes;
    }
    seen = child.lines.length;
    if (systemClock.random() < 0.75) continue;
    child.kill("SIGSTOP");
    freezes += 1;
    await holdsFor(() => true, { what: "a freeze", forMs: leaseMs * (1.1 + systemClock.random()) });
    child.kill("SIGCONT");
  }
}

function collect(children: readonly SpawnedChild[]): Omit<History, "freezes"> {
  const leases = new Map<string, Operation<LeaseAsked, LeaseAnswered>[]>();
  const writes = new Map<string, Write[]>();
  for (const message of children.flatMap((x) => x.messages as readonly LockChildMessage[])) {
    if ("lease" in message) {
      leases.set(message.key, [...(leases.get(message.key) ?? []), message.lease]);
    }
    if ("write" in message) {
      writes.set(message.key, [...(writes.get(message.key) ?? []), message.write]);
    }
  }
  const refusals = children.flatMap((x) => x.lines.filter((line) => line.startsWith("refused")));
  return { leases, writes, refusals };
}

/** Both laws, and that there was something to see. */
function expectLawful(history: History): void {
  for (const [key, operations] of history.leases) {
    expect([key, checkLinearizable(operations, leaseModel)]).toMatchObject([
      key,
      { kind: "linearizable" },
    ]);
  }
  for (const [key, operations] of history.writes) {
    expect([key, checkLinearizable(operations, registerModel)]).toMatchObject([
      key,
      { kind: "linearizable" },
    ]);
    expect(operations.filter(({ answer }) => answer?.isWritten).length).toBeGreaterThan(5);
  }
  expect(history.freezes).toBeGreaterThan(5);
  // What the frozen ones wrote would have been wrong: another had read meanwhile what they had read.
  expect(history.refusals.some((line) => line.includes("LEASE_LOST"))).toBe(true);
  expect(history.refusals.some((line) => line.includes("FENCED"))).toBe(true);
}

const guarded: readonly WorkKind[] = ["with-lock", "guard", "fenced-row"];

describe("processes that are frozen past their leases", () => {
  it("see one order of locks and guarded writes, in PostgreSQL", async () => {
    expectLawful(await run(guarded, { rounds: 24 }));
  }, 120_000);

  it("see one order of locks and guarded writes, with locks in Redis", async (context) => {
    const { url: redisUrl } = needRedis(context, redis);
    expectLawful(await run(guarded, { rounds: 24, redisUrl }));
  }, 120_000);

  it("lose a write where nothing guards it, and that is found out", async () => {
    const { writes, leases } = await run(["unguarded"], { rounds: 15 });
    const verdicts = [...writes.values()].map((each) => checkLinearizable(each, registerModel));
    expect(verdicts).toMatchObject([{ kind: "violation" }]);
    // The locks themselves did nothing wrong: no lock can do better.
    for (const each of leases.values()) {
      expect(checkLinearizable(each, leaseModel)).toMatchObject({ kind: "linearizable" });
    }
  }, 120_000);
});
