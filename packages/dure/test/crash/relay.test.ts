/** Whenever a process dies or freezes, an event is published if and only if it was committed, and in order (laws O1, O3). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FaultPoint } from "../../src/index.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handled,
  handleInto,
  logMessages,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "../integration/service-fixture.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import type { ChildPlan } from "./service-child.ts";

const leaseMs = 1_000;
const keys = ["a", "b", "c", "d", "e"];

let database: TestDatabase;
let service: TestService;

beforeEach(async () => {
  database = await createHandledDatabase("crash_relay");
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

function runChild(plan: Omit<ChildPlan, "url">): SpawnedChild {
  const text = JSON.stringify({ url: database.url, ...plan } satisfies ChildPlan);
  return spawnChild(new URL("./service-child.ts", import.meta.url), {
    env: { DURE_CHILD_PLAN: text },
    lifeMsMax: 60_000,
  });
}

const waitForHit = (child: SpawnedChild) => child.waitForMessage(hasField("hit"));

/** The writer and consumer of the test; whether it relays is said later, by another. */
async function startService(relays: boolean): Promise<TestService> {
  const started = createTestService({
    pool: database.pool,
    relay: relays ? { leaseMs, pollMsMax: 50, batchSizeMax: 5 } : false,
  });
  started.dure.on(stepTaken, {}, handleInto("steps"));
  await started.dure.start();
  return started;
}

async function countOf(sql: string): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    `select count(*)::int as count from ${sql}`,
  );
  return rows[0]?.count ?? -1;
}

describe("a writer that dies", () => {
  it.for([
    { point: "transaction.before-commit", kept: 3 },
    { point: "transaction.after-commit", kept: 4 },
  ] as const)(
    "at $point has left the event and the business row, or neither",
    async ({ point, kept }) => {
      await using child = runChild({
        emits: { key: "k", count: 9 },
        fault: { point, hit: 4, signal: "SIGKILL" },
      });
      expect(await child.waitForExit()).toMatchObject({ signal: "SIGKILL" });
      expect(await countOf("dure.outbox_message")).toBe(kept);
      expect(await countOf("handled where consumer = 'business'")).toBe(kept);
      service = await startService(true);
      expect(disorderedKeys(await waitForHandled(database.pool, kept))).toEqual([]);
      await waitForDrained(service.dure);
      await service.stop();
      expect(await logMessages(database.pool)).toHaveLength(kept);
    },
  );
});

describe("a relay that dies", () => {
  it.for([
    // Progress is recorded beside the sending: what was sent and not recorded yet is sent again at any point.
    { point: "relay.before-publish", hasCopies: undefined },
    { point: "relay.after-publish", hasCopies: true },
    { point: "relay.after-advance", hasCopies: undefined },
  ] as const satisfies readonly { point: FaultPoint; hasCopies: boolean | undefined }[])(
    "at $point is replaced within its lease; nothing is lost, copies are dropped, each key keeps its order",
    async ({ point, hasCopies }) => {
      service = await startService(false);
      for (const key of keys) await emitSteps(service.dure, key, { to: 40 });
      await using child = runChild({ relays: true, fault: { point, hit: 2, signal: "SIGKILL" } });
      await waitForHit(child);
      await child.waitForExit();
      const diedAt = performance.now();
      const before = await countOf("dure.log_message");
      await using _heir = runChild({ relays: true });
      await waitFor(async () => (await countOf("dure.log_message")) > before, {
        what: "the heir's first event",
        intervalMs: 5,
      });
      // Its lease, a third of one until the heir looks again, and the start of a process on a busy machine.
      expect(performance.now() - diedAt).toBeLessThan(leaseMs * 1.4 + 3_000);
      for (const key of keys) await emitSteps(service.dure, key, { from: 41, to: 45 });
      const rows = await waitForHandled(database.pool, keys.length * 45);
      await waitForDrained(service.dure);
      expect(disorderedKeys(rows)).toEqual([]);
      const total = await countOf("dure.log_message");
      const { order } = await service.dure.status();
      expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, unverified: 0 });
      const copies = total - keys.length * 45;
      expect(copies).toBeGreaterThanOrEqual(hasCopies === true ? 1 : 0);
      await waitFor(
        async () => (await service.dure.status()).order["steps"]?.duplicates === copies,
        { what: "the copies to be dropped" },
      );
      await service.stop();
    },
  );
});

describe("a relay that is frozen past its lease", () => {
  it.for(["relay.before-publish", "transport.publish"] as const)(
    "at %s sends nothing when it thaws, and comes back as a new member",
    async (point) => {
      service = await startService(false);
      for (const key of keys) await emitSteps(service.dure, key, { to: 20 });
      await using child = runChild({ relays: true, fault: { point, hit: 2, signal: "SIGSTOP" } });
      await waitForHit(child);
      await using _heir = runChild({ relays: true });
      await waitForDrained(service.dure);
      for (const key of keys) await emitSteps(service.dure, key, { from: 21, to: 30 });
      await waitForDrained(service.dure);
      const total = keys.length * 30;
      await waitForHandled(database.pool, total);
      expect(await countOf("dure.log_message")).toBe(total);
      child.kill("SIGCONT");
      await child.waitForLine("could not publish");
      // It thaws with a batch in its hands.
      await holdsFor(async () => (await countOf("dure.log_message")) === total, {
        what: "no second copy",
        forMs: 500,
      });
      const refusal = child.lines.find((line) => line.includes("could not publish"));
      expect(refusal).toMatch(
        point === "transport.publish" ? /was taken over/ : /has lost its lease/,
      );
      await waitFor(async () => (await service.dure.status()).relays === 2, {
        what: "both as members",
      });
      for (const key of keys) await emitSteps(service.dure, key, { from: 31, to: 40 });
      const rows = await waitForHandled(database.pool, keys.length * 40);
      expect(disorderedKeys(rows)).toEqual([]);
      expect((await service.dure.status()).order["steps"]).toMatchObject({
        gaps: 0,
        reorders: 0,
        duplicates: 0,
      });
      expect(await handled(database.pool)).toHaveLength(keys.length * 40);
      await service.stop();
    },
  );
});
