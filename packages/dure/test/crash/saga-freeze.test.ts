/** A process that freezes past its lease while it drives sagas is replaced; thawed, it changes nothing more (laws S2, S6). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import type { SagaChildPlan } from "./saga-child.ts";
import {
  completedWork,
  countSagas,
  countWork,
  createEffectTable,
  undoneWork,
} from "./saga-work.ts";

const sagaCount = 30;
const undoneCount = sagaCount / 5;
/** For machines that are busy. */
const patienceMs = 30_000;

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ name: "saga_freeze" });
  await createEffectTable(database.pool);
});
afterEach(() => database[Symbol.asyncDispose]());

function runChild(plan: Omit<SagaChildPlan, "url">): SpawnedChild {
  const text = JSON.stringify({ url: database.url, ...plan } satisfies SagaChildPlan);
  return spawnChild(new URL("./saga-child.ts", import.meta.url), {
    env: { DURE_CHILD_PLAN: text },
    lifeMsMax: 120_000,
  });
}

async function journal(): Promise<unknown> {
  const { rows } = await database.pool.query(
    "select saga_id, n, process, events::text from dure.saga_journal order by 1, 2",
  );
  return rows;
}

async function isQuiet(): Promise<boolean> {
  const { rows } = await database.pool.query<{ live: number; all: number }>(
    `select (select count(*)::int from dure.saga_live) as live,
       (select count(*)::int from dure.saga_instance) as all`,
  );
  return rows[0]?.live === 0 && rows[0].all === sagaCount;
}

/** Its number, by which its sagas are another's from now on. */
async function isFenced(): Promise<boolean> {
  const { rowCount } = await database.pool.query(
    "select from dure.saga_process where process = 1 and fenced_at is null",
  );
  return rowCount === 0;
}

describe("a process that is frozen while it drives sagas", { timeout: 120_000 }, () => {
  it.for([
    { freezesAt: "before call" },
    { freezesAt: "after call", hit: 7 },
    { freezesAt: "before dure:saga.record" },
    { freezesAt: "after dure:saga.record" },
    { freezesAt: "before begin", hit: 3 },
    // Inside a transaction, with its locks.
    { freezesAt: "before dure:saga.record-all" },
    { freezesAt: "before commit" },
    { freezesAt: "after commit" },
    { freezesAt: "before dure:saga.beat" },
    { freezesAt: "after dure:saga.claim", hit: 2 },
  ])(
    "$freezesAt is replaced; thawed it is refused, nothing is there twice, and it joins anew",
    async (fault) => {
      await using frozen = runChild({ sagaCount, ...fault });
      await frozen.waitForMessage(hasField("hit"), { timeoutMs: patienceMs });
      await using heir = runChild({ sagaCount: 0 });
      await waitFor(isFenced, { what: "the frozen process to be fenced", timeoutMs: patienceMs });
      await waitFor(isQuiet, { what: "the heir to end all sagas", timeoutMs: patienceMs });
      const before = await journal();
      expect(frozen.lines.some((line) => line.includes("has lost its sagas"))).toBe(false);
      frozen.kill("SIGCONT");
      await frozen.waitForLine("has lost its sagas to others", { timeoutMs: patienceMs });
      await holdsFor(async () => JSON.stringify(await journal()) === JSON.stringify(before), {
        what: "no entry of the thawed process",
        forMs: 500,
      });
      const all = { COMPLETED: sagaCount - undoneCount, COMPENSATED: undoneCount };
      expect(await countSagas(database.pool)).toEqual(all);
      expect(await countWork(database.pool)).toEqual({
        [completedWork]: sagaCount - undoneCount,
        [undoneWork]: undoneCount,
      });
      heir.kill("SIGKILL");
      await heir.waitForExit();
      frozen.send("again");
      await frozen.waitForMessage(hasField("outcome"), { timeoutMs: patienceMs });
      expect(await countSagas(database.pool)).toEqual({ ...all, COMPLETED: all.COMPLETED + 1 });
    },
  );
});
