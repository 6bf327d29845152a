/** A relay that dies or freezes before or after any of its statements loses nothing and confuses no key (law O3). DURE_CRASH_POINTS=all takes every statement. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  logMessages,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "../integration/service-fixture.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import type { ChildPlan } from "./service-child.ts";

/** Every statement that a relay's process runs until its outbox is empty; how often each is run at least. */
const statements = {
  "dure:outbox.positions": 5,
  "dure:claim.heartbeat": 2,
  "dure:outbox.cursors": 1,
  "dure:outbox.parked-keys": 1,
  "dure:outbox.writers": 1,
  "dure:outbox.read": 5,
  "dure:outbox.due": 1,
  "dure:log.append": 5,
  "dure:outbox.advance": 5,
  "dure:notify": 1,
  "dure:notify.server-process": 1,
  "dure:admin.oldest-pending": 1,
  "dure:maintenance.count": 1,
  "dure:maintenance.create": 1,
  "dure:maintenance.days": 1,
  "dure:maintenance.expired": 1,
  "dure:maintenance.prune-guards": 1,
  "dure:maintenance.prune-inbox": 1,
  "dure:maintenance.prune-keys": 1,
  "dure:maintenance.prune-locks": 1,
  "dure:maintenance.rest-is-expired": 1,
  "dure:maintenance.retire-sagas": 1,
  "dure:maintenance.set-back-shards": 1,
  "dure:maintenance.waiting-for-archive": 1,
  listen: 1,
  select: 1,
} as const;

/** What it runs when another joins and it has more than its share. */
const release = "dure:claim.release";

interface Point {
  readonly when: "before" | "after";
  readonly statement: string;
  readonly hit: number;
  readonly signal: "SIGKILL" | "SIGSTOP";
}

const allPoints: readonly Point[] = Object.entries({ ...statements, [release]: 1 }).flatMap(
  ([statement, times]) =>
    (["SIGKILL", "SIGSTOP"] as const).flatMap((signal) =>
      (["before", "after"] as const).flatMap((when) =>
        [...new Set([1, times])].map((hit) => ({ when, statement, hit, signal })),
      ),
    ),
);
/** Those at which most is at stake. */
const somePoints: readonly Point[] = [
  { when: "after", statement: "dure:claim.heartbeat", hit: 1, signal: "SIGKILL" },
  { when: "after", statement: "dure:outbox.writers", hit: 1, signal: "SIGKILL" },
  { when: "before", statement: "dure:log.append", hit: 5, signal: "SIGKILL" },
  { when: "after", statement: "dure:log.append", hit: 5, signal: "SIGKILL" },
  { when: "before", statement: "dure:outbox.advance", hit: 5, signal: "SIGSTOP" },
  { when: "after", statement: release, hit: 1, signal: "SIGKILL" },
];
const points = process.env["DURE_CRASH_POINTS"] === "all" ? allPoints : somePoints;

const leaseMs = 1_000;
const keys = ["a", "b", "c", "d", "e"];

let database: TestDatabase;
let service: TestService;

beforeEach(async () => {
  database = await createHandledDatabase("crash_statements");
  service = createTestService({ pool: database.pool, relay: false });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  for (const key of keys) {
    await emitSteps(service.dure, key, { to: 10 });
    // A position that stays empty: the relay has to find out about its writer.
    const undone = service.dure.transaction(async (tx) => {
      await service.dure.outbox.emit(tx, stepTaken.of({ key, n: 0 }));
      throw new Error("rolled back");
    });
    await expect(undone).rejects.toThrow("rolled back");
    await emitSteps(service.dure, key, { from: 11, to: 20 });
  }
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

function runChild(plan: Omit<ChildPlan, "url">): SpawnedChild {
  const text = JSON.stringify({ url: database.url, relays: true, ...plan } satisfies ChildPlan);
  return spawnChild(new URL("./service-child.ts", import.meta.url), {
    env: { DURE_CHILD_PLAN: text },
    lifeMsMax: 60_000,
  });
}

describe("the list of a relay's statements", () => {
  it("names all that its process runs, from its start to an empty outbox", async () => {
    await using child = runChild({ saysStatements: true });
    await waitForDrained(service.dure);
    const names = () => child.messages.filter(hasField("statement")).map((x) => x.statement);
    const areAllSeen = () => Object.keys(statements).every((name) => names().includes(name));
    await waitFor(areAllSeen, { what: "every statement of the list" });
    expect(new Set(names())).toEqual(new Set(Object.keys(statements)));
  });
});

describe("a relay", () => {
  it.for(points)(
    "that gets $signal $when $statement (hit $hit) is replaced; nothing is lost and each key keeps its order",
    async ({ when, statement, hit, signal }) => {
      await using child = runChild({ fault: { point: `${when} ${statement}`, hit, signal } });
      await using heir = createTestService({
        pool: database.pool,
        relay: { leaseMs, pollMsMax: 50, batchSizeMax: 5 },
      });
      if (statement === release) {
        await waitForDrained(service.dure);
        await heir.dure.start();
      }
      await child.waitForMessage(hasField("hit"));
      if (signal === "SIGKILL") await child.waitForExit();
      if (statement !== release) await heir.dure.start();
      await waitForDrained(service.dure);
      for (const key of keys) await emitSteps(service.dure, key, { from: 21, to: 25 });
      await waitForDrained(service.dure);
      // A frozen one goes on, with whatever it held, beside its heir.
      child.kill("SIGCONT");
      for (const key of keys) await emitSteps(service.dure, key, { from: 26, to: 30 });
      if (signal === "SIGSTOP") {
        await waitFor(async () => (await service.dure.status()).relays === 2, {
          what: "both as members",
        });
      }
      await waitForDrained(service.dure);
      const rows = await waitForHandled(database.pool, keys.length * 30);
      expect(rows).toHaveLength(keys.length * 30);
      expect(disorderedKeys(rows)).toEqual([]);
      // Counted after the commit that handled the last of them, copies included.
      const copies = (await logMessages(database.pool)).length - rows.length;
      const order = async () => (await service.dure.status()).order["steps"];
      await waitFor(async () => (await order())?.duplicates === copies, {
        what: `${copies} copies to be dropped`,
      });
      expect(await order()).toMatchObject({ gaps: 0, reorders: 0, unverified: 0 });
    },
  );
});
