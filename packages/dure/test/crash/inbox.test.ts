/** Wherever the process dies, each message has its effect once, and what the handler emits is there once (law I1). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handled,
  logMessages,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "../integration/service-fixture.ts";
import { hasField, spawnChild, type SpawnedChild } from "../support/spawn-child.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import type { ChildPlan } from "./service-child.ts";

let database: TestDatabase;
let service: TestService;

beforeEach(async () => {
  database = await createHandledDatabase("crash_inbox");
  service = createTestService({ pool: database.pool });
  await service.dure.start();
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

function runConsumer(
  fault?: ChildPlan["fault"],
  diesOfKey?: string,
  more?: Partial<ChildPlan>,
): SpawnedChild {
  const plan: ChildPlan = {
    url: database.url,
    handles: true,
    ...more,
    ...(fault && { fault }),
    ...(diesOfKey !== undefined && { diesOfKey }),
  };
  return spawnChild(new URL("./service-child.ts", import.meta.url), {
    env: { DURE_CHILD_PLAN: JSON.stringify(plan) },
    lifeMsMax: 60_000,
  });
}

/** Everything that the log holds, twice more. */
async function deliverThreeTimes(): Promise<void> {
  const messages = await logMessages(database.pool);
  for (let copy = 0; copy < 2; copy += 1) {
    await service.log.publish(messages, { fences: [], signal: AbortSignal.timeout(10_000) });
  }
}

const offsets = async () => {
  const { rows } = await database.pool.query<{ position: string }>(
    "select max(position)::text as position from dure.log_offset where consumer = 'steps' group by partition order by partition",
  );
  return rows.map(({ position }) => Number(position));
};

describe("a consumer that dies", () => {
  it.for([
    "inbox.before-handler",
    "inbox.before-commit",
    "inbox.after-commit",
    "inbox.after-acknowledge",
  ] as const)(
    "at %s has done each message's effect once, though each is delivered three times",
    async (point) => {
      const keys = ["a", "b", "c"];
      for (const key of keys) await emitSteps(service.dure, key, { to: 10 });
      await waitForDrained(service.dure);
      await deliverThreeTimes();
      for (const hit of [2, 3]) {
        await using child = runConsumer({ point, hit, signal: "SIGKILL" });
        await child.waitForMessage(hasField("hit"));
        await child.waitForExit();
        const { rows } = await database.pool.query(
          `select from dure.log_message m where m.topic = 'step'
             and m.position <= (select max(position) from dure.log_offset o
               where o.consumer = 'steps' and o.topic = 'step' and o.partition = m.partition)
             and not exists (select from handled h where h.message_id = m.envelope::jsonb ->> 'id')`,
        );
        expect(rows, "offsets never pass what is not done (law I3)").toEqual([]);
      }
      await using _heir = runConsumer();
      const rows = await waitForHandled(database.pool, 30);
      await waitFor(
        async () =>
          (await service.log.lag()).every(
            ({ group, messages }) => group !== "steps" || messages === 0,
          ),
        { what: "all offsets" },
      );
      await waitForDrained(service.dure);
      expect(await handled(database.pool)).toHaveLength(30);
      expect(disorderedKeys(rows)).toEqual([]);
      const echoes = (await logMessages(database.pool)).filter(({ type }) => type === "echo.heard");
      expect(echoes.map(({ data }) => data).toSorted()).toEqual(
        keys
          .flatMap((key) =>
            Array.from({ length: 10 }, (_, index) => JSON.stringify({ key, n: index + 1 })),
          )
          .toSorted(),
      );
      const ids = new Set(rows.map(({ messageId }) => messageId));
      expect(echoes.every(({ causationId }) => ids.has(causationId ?? ""))).toBe(true);
      expect((await offsets()).length).toBeGreaterThan(0);
    },
  );

  it("of one message again and again gives that message up, and blames none of its neighbours", async () => {
    const { dure } = service;
    for (const key of ["a", "b", "c", "d"]) await emitSteps(dure, key, { to: 5 });
    await waitForDrained(dure);
    let lives = 0;
    while ((await dure.deadLetters.list()).length === 0 && lives < 8) {
      await using child = runConsumer(undefined, "b");
      let hasDied = false;
      void child.exited.then(() => (hasDied = true));
      const isDecided = async () => hasDied || (await dure.deadLetters.list()).length > 0;
      await waitFor(isDecided, { what: "a death, or a dead letter", timeoutMs: 20_000 });
      lives += 1;
    }
    expect(lives).toBe(6);
    const letters = await dure.deadLetters.list();
    expect(letters).toMatchObject([{ key: "b", errorCode: "HANDLER_DIED" }]);
    await using _heir = runConsumer();
    await waitForHandled(database.pool, 15);
    await dure.deadLetters.redrive({ id: letters[0]?.id ?? "" }, { actor: "test" });
    const rows = await waitForHandled(database.pool, 20);
    expect(disorderedKeys(rows)).toEqual([]);
    const { rows: begun } = await database.pool.query("select from dure.inbox_attempt");
    expect(begun).toHaveLength(0);
  }, 120_000);

  it("while it held partitions with another member is replaced within its lease, in order", async () => {
    await using first = runConsumer();
    await using second = runConsumer();
    const members = async () =>
      (
        await database.pool.query(
          "select from dure.claim_member where scope = 'log:steps' and lease_until > clock_timestamp()",
        )
      ).rowCount;
    await waitFor(async () => (await members()) === 2, { what: "both members" });
    const keys = Array.from({ length: 16 }, (_, index) => `key-${index}`);
    const emitted = Promise.all(keys.map((key) => emitSteps(service.dure, key, { to: 30 })));
    await waitForHandled(database.pool, 100);
    second.kill("SIGKILL");
    await second.waitForExit();
    await emitted;
    const rows = await waitForHandled(database.pool, keys.length * 30);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(await members()).toBe(1);
    expect(first.lines.some((line) => line.includes("lost its lease"))).toBe(false);
  });
});

describe("a consumer that is frozen in the middle of a handler's transaction", () => {
  it("holds up the next member no longer than the idle bound; thawed, its commit fails and its messages have been handled once", async () => {
    const leaseMs = 1_000;
    const bound = { idleInTransactionMsMax: 2 * leaseMs };
    for (const key of ["a", "b", "c"]) await emitSteps(service.dure, key, { to: 10 });
    await waitForDrained(service.dure);
    const fault = { point: "inbox.before-commit", hit: 2, signal: "SIGSTOP" } as const;
    await using frozen = runConsumer(fault, undefined, bound);
    await frozen.waitForMessage(hasField("hit"));
    const frozenAt = performance.now();
    await using _heir = runConsumer(undefined, undefined, bound);
    const rows = await waitForHandled(database.pool, 30);
    // The idle bound, which runs beside the lease; what a member needs to find and do them; a busy machine.
    expect(performance.now() - frozenAt).toBeLessThan(8 * leaseMs);
    expect(performance.now() - frozenAt).toBeGreaterThan(1.5 * leaseMs);
    expect(disorderedKeys(rows)).toEqual([]);
    frozen.kill("SIGCONT");
    await frozen.waitForLine("could not handle a batch");
    // It joins again and has its share: what it thawed with is known by then.
    await waitFor(
      async () =>
        (
          await database.pool.query(
            "select from dure.claim_member where scope = 'log:steps' and lease_until > clock_timestamp()",
          )
        ).rowCount === 2,
      { what: "both members" },
    );
    for (const key of ["a", "b", "c"]) await emitSteps(service.dure, key, { from: 11, to: 15 });
    const all = await waitForHandled(database.pool, 45);
    await waitFor(async () => (await handled(database.pool)).length >= 45, { what: "the rest" });
    expect(all).toHaveLength(45);
    expect(disorderedKeys(all)).toEqual([]);
  });
});
