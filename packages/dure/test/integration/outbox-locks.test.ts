/** Transactions that emit for the same keys in whatever order never deadlock where Dure runs them, and get a clear, retryable error where the user takes the locks in his own order (law O2 e). */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeInTextOrder } from "../naive/text-ordered-locks.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { dureOutbox, withSessions } from "./order-scenarios.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  handleInto,
  type Step,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

interface Collision {
  readonly namespace: number;
  readonly lock: number;
  /** Two keys that share the lock, in the order of their text. */
  readonly keys: readonly [string, string];
}

let database: TestDatabase;
let service: TestService;
let collisions: readonly Collision[];

beforeAll(async () => {
  database = await createHandledDatabase("locks");
  service = createTestService({ pool: database.pool });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  const { rows } = await database.pool.query<Collision>(`
    select s.lock_namespace + k.shard as namespace, k.lock, k.keys from dure.outbox_setting s, (
      select shard, lock, (array_agg(key order by key collate "C"))[1:2] as keys from (
        select key, ((hash & 9223372036854775807) % 8)::integer as shard, ((hash >> 24) & 2147483647)::integer as lock
        from (
          select 'k' || i as key, hashtextextended('step' || chr(31) || 'k' || i, 0) as hash from generate_series(1, 500000) i
        ) hashed
      ) locked group by shard, lock having count(*) > 1
    ) k`);
  collisions = rows;
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

/** Two transactions by key that take the locks X, Y and Y, X if they go by the keys' text: x < y and y < x'. */
function crossing(): { readonly locks: readonly Collision[]; readonly keys: readonly string[][] } {
  for (const left of collisions) {
    for (const right of collisions) {
      const [x, later] = left.keys;
      const [y] = right.keys;
      if (left !== right && x < y && y < later) {
        return {
          locks: [left, right],
          keys: [
            [x, y],
            [y, later],
          ],
        };
      }
    }
  }
  throw new Error(`none of ${collisions.length} collisions crosses another`);
}

/**
 * Both transactions stand at their first lock, which a third session holds together with the other; it lets both
 * go. Resolves to what became of the two: done, or the SQLSTATE.
 */
async function crossingWriters(transaction: (events: readonly Step[]) => Promise<unknown>) {
  const { locks, keys } = crossing();
  return withSessions(database.pool, 1, async (keeper) => {
    await keeper?.query("begin");
    for (const { namespace, lock } of locks) {
      await keeper?.query("select pg_advisory_xact_lock($1, $2)", [namespace, lock]);
    }
    const running = keys.map((own) => transaction(own.map((key) => ({ key, n: 1 }))));
    const outcomes = Promise.allSettled(running);
    await waitFor(
      async () => {
        const { rowCount } = await database.pool.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'",
        );
        return rowCount === 2;
      },
      { what: "both transactions to stand at a lock" },
    );
    await keeper?.query("commit");
    return (await outcomes).map((outcome) =>
      outcome.status === "fulfilled" ? "done" : (outcome.reason as { code?: string }).code,
    );
  });
}

describe("two transactions that emit for the same keys, whose hashes collide crosswise", () => {
  it("both commit where Dure takes the locks, in the order of numbers", async () => {
    const transaction = (events: readonly Step[]) =>
      service.dure.transaction(async (tx) => {
        for (const step of events) tx.emit(stepTaken, step);
      });
    expect(await crossingWriters(transaction)).toEqual(["done", "done"]);
  });

  it("deadlock where the locks are taken in the order of the keys' text", async () => {
    const transaction = (events: readonly Step[]) =>
      withSessions(database.pool, 1, async (session) => {
        if (session === undefined) return;
        await session.query("begin");
        await writeInTextOrder(session, events);
        await session.query("commit");
      });
    expect(new Set(await crossingWriters(transaction))).toEqual(new Set(["40P01", "done"]));
  });
});

describe("transactions that emit for many keys in many orders", () => {
  it("never deadlock where Dure writes the events, also with colliding hashes", async () => {
    expect(collisions.length).toBeGreaterThan(0);
    const keys = [...collisions.slice(0, 3).flatMap((collision) => collision.keys), "a", "b", "c"];
    const worker = async (own: number): Promise<void> => {
      for (let n = 1; n <= 60; n += 1) {
        const turned = keys.map(
          (_key, index) =>
            keys[(index * (own % 2 === 0 ? 1 : keys.length - 1) + own + n) % keys.length] ?? "",
        );
        await service.dure.transaction(async (tx) => {
          for (const key of turned) tx.emit(stepTaken, { key, n });
        });
      }
    };
    await Promise.all([0, 1, 2, 3, 4, 5].map(worker));
    await waitForDrained(service.dure);
  });

  it("get a clear, retryable deadlock where the user writes in several calls and another order", async () => {
    const outbox = dureOutbox(service, database.pool);
    await withSessions(database.pool, 2, async (...sessions) => {
      const [a, b] = sessions as [pg.PoolClient, pg.PoolClient]; // two were asked for
      const emit = (session: pg.PoolClient, key: string, n: number) =>
        outbox.write(session, [{ key, n }]);
      await a.query("begin");
      await b.query("begin");
      await emit(a, "left", 1);
      await emit(b, "right", 1);
      const outcomes = await Promise.allSettled([emit(a, "right", 1), emit(b, "left", 1)]);
      const failed = outcomes.flatMap((outcome) =>
        outcome.status === "rejected" ? [outcome.reason as unknown] : [],
      );
      expect(failed).toEqual([expect.objectContaining({ code: "40P01" })]);
      // The other goes on; this one is run again.
      const [winner, loser] = outcomes[0]?.status === "fulfilled" ? [a, b] : [b, a];
      await winner.query("commit");
      await loser.query("rollback");
      await loser.query("begin");
      await outbox.write(loser, [
        { key: "left", n: 2 },
        { key: "right", n: 2 },
      ]);
      await loser.query("commit");
    });
    await waitForDrained(service.dure);
    const count = (await outbox.sent()).length;
    const rows = await waitForHandled(database.pool, count);
    expect(disorderedKeys(rows.filter(({ key }) => key === "left" || key === "right"))).toEqual([]);
  });
});
