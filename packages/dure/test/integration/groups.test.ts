/** Groups are independent; within one, partitions go side by side, and what was emitted by a handler is its own affair (laws I1, I3, I4). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { event, PermanentError } from "../../src/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handled,
  handleInto,
  logMessages,
  type Step,
  stepSchema,
  stepTaken,
  type TestService,
  type TestServiceOptions,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
const services: TestService[] = [];
beforeEach(async () => {
  database = await createHandledDatabase("groups", { poolSizeMax: 30 });
});
afterEach(async () => {
  for (const service of services.splice(0)) await service.stop();
  await database[Symbol.asyncDispose]();
});

function create(options: Partial<TestServiceOptions> = {}): TestService {
  const service = createTestService({ pool: database.pool, ...options });
  services.push(service);
  return service;
}
const keys = Array.from({ length: 24 }, (_, index) => `key-${index}`);

const partitionOf = async (key: string): Promise<number> => {
  const { rows } = await database.pool.query<{ partition: number }>(
    "select ((hashtextextended($1, 0) & 9223372036854775807) % 8)::int as partition",
    [key],
  );
  return rows[0]?.partition ?? -1;
};

describe("a consumer group", () => {
  it("gets everything once, and so does every other; a new one begins where it was told to", async () => {
    const first = create();
    first.dure.on(stepTaken, { group: "one" }, handleInto("one"));
    first.dure.on(stepTaken, { group: "two" }, handleInto("two"));
    await first.dure.start();
    for (const key of keys) await emitSteps(first.dure, key, { to: 5 });
    for (const consumer of ["one", "two"]) {
      const rows = await waitForHandled(database.pool, keys.length * 5, { consumer });
      expect(rows).toHaveLength(keys.length * 5);
      expect(disorderedKeys(rows)).toEqual([]);
    }
    await waitForDrained(first.dure);
    const second = create({ relay: false });
    second.dure.on(stepTaken, { group: "late", from: "latest" }, handleInto("late"));
    second.dure.on(stepTaken, { group: "all", from: "earliest" }, handleInto("all"));
    await second.dure.start();
    await waitFor(async () => (await first.log.lag()).some(({ group }) => group === "late"), {
      what: "the late group",
    });
    await waitForHandled(database.pool, keys.length * 5, { consumer: "all" });
    await emitSteps(first.dure, "key-0", { from: 6, to: 8 });
    const late = await waitForHandled(database.pool, 3, { consumer: "late" });
    expect(late.map(({ n }) => n)).toEqual([6, 7, 8]);
    const { order } = await second.dure.status();
    expect(order["late"]).toMatchObject({ gaps: 0, reorders: 0, unverified: 1, verified: 2 });
    expect(order["all"]).toMatchObject({ gaps: 0, reorders: 0, duplicates: 0 });
  });

  it("with two members shares the partitions; when one stops the other has all of them", async () => {
    const members = [create(), create({ relay: false })];
    const byMember = [new Set<string>(), new Set<string>()];
    for (const [index, { dure }] of members.entries()) {
      const record = handleInto("steps");
      dure.on(stepTaken, {}, async (message, tx) => {
        byMember[index]?.add(message.data.key);
        await record(message, tx);
      });
      await dure.start();
    }
    const shares = async () =>
      (
        await database.pool.query<{ count: number }>(
          "select count(*)::int as count from dure.claim where scope = 'log:steps' and member_id is not null group by member_id order by 1",
        )
      ).rows.map(({ count }) => count);
    await waitFor(async () => (await shares()).join() === "4,4", { what: "even shares" });
    for (const key of keys) await emitSteps(members[0]!.dure, key, { to: 3 });
    await waitForHandled(database.pool, keys.length * 3);
    expect([byMember[0]?.size, byMember[1]?.size].every((size) => (size ?? 0) > 0)).toBe(true);
    await members[1]?.stop();
    for (const key of keys) await emitSteps(members[0]!.dure, key, { from: 4, to: 6 });
    const rows = await waitForHandled(database.pool, keys.length * 6);
    expect(disorderedKeys(rows)).toEqual([]);
    await waitFor(async () => (await shares()).join() === "8", { what: "all for one" });
    expect((await members[0]!.dure.status()).order["steps"]).toMatchObject({
      gaps: 0,
      reorders: 0,
    });
  });

  it("is not stopped by a slow handler: other partitions go on, and no offset passes what is unfinished", async () => {
    let finish = (): void => {};
    const slow = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const service = create({ consumer: { concurrency: 2, pollMsMax: 50 } });
    const record = handleInto("steps");
    service.dure.on(stepTaken, {}, async (message, tx) => {
      if (message.data.key === "key-0") await slow;
      await record(message, tx);
    });
    await service.dure.start();
    const own = await partitionOf("key-0");
    const others = (
      await Promise.all(keys.map(async (key) => ({ key, partition: await partitionOf(key) })))
    ).filter(({ partition }) => partition !== own);
    expect(others.length).toBeGreaterThan(10);
    await emitSteps(service.dure, "key-0", { to: 2 });
    for (const { key } of others) await emitSteps(service.dure, key, { to: 5 });
    await waitForHandled(database.pool, others.length * 5);
    const offset = async () =>
      (
        await database.pool.query<{ position: string }>(
          "select max(position)::text as position from dure.log_offset where consumer = 'steps' and partition = $1",
          [own],
        )
      ).rows[0]?.position;
    expect(await offset()).toBe("0");
    finish();
    await waitForHandled(database.pool, others.length * 5 + 2);
    await waitFor(async () => (await offset()) !== "0", { what: "the offset" });
  });

  it("serves its partitions in turn: a few that always have work do not starve the others", async () => {
    const service = create({ consumer: { concurrency: 1, batchSizeMax: 1, pollMsMax: 50 } });
    const order: number[] = [];
    const record = handleInto("steps");
    const partitions = new Map(
      await Promise.all(keys.map(async (key) => [key, await partitionOf(key)] as const)),
    );
    service.dure.on(stepTaken, {}, async (message, tx) => {
      order.push(partitions.get(message.data.key) ?? -1);
      await record(message, tx);
    });
    const writer = create();
    await writer.dure.start();
    for (const key of keys) await emitSteps(writer.dure, key, { to: 4 });
    await waitForDrained(writer.dure);
    await service.dure.start();
    await waitForHandled(database.pool, keys.length * 4);
    const count = new Set(partitions.values()).size;
    expect(new Set(order.slice(0, count * 2)).size).toBe(count);
  });
});

describe("what a handler emits", () => {
  const echoed = event("echo.heard", {
    version: 1,
    schema: stepSchema,
    key: (data: Step) => data.key,
  });

  it("in its own transaction goes with it; in one of its own it is relayed, though the message is a dead letter", async () => {
    const { dure } = create();
    dure.on(stepTaken, {}, async (message, tx) => {
      tx.emit(echoed, { key: "with-it", n: message.data.n });
      await dure.transaction(async (own) => own.emit(echoed, { key: "apart", n: message.data.n }));
      throw new PermanentError("no");
    });
    await dure.start();
    await emitSteps(dure, "k", { to: 1 });
    await waitFor(async () => (await dure.deadLetters.list()).length === 1, {
      what: "the dead letter",
    });
    await waitForDrained(dure);
    const echoes = (await logMessages(database.pool)).filter(({ type }) => type === "echo.heard");
    expect(new Set(echoes.map(({ key }) => key))).toEqual(new Set(["apart"]));
  });

  it("carries its cause and the business action it belongs to, over several services", async () => {
    const { dure } = create();
    dure.on(stepTaken, {}, (message, tx) => tx.emit(echoed, message.data));
    await dure.start();
    await dure.transaction(async (tx) => tx.emit(stepTaken, { key: "k", n: 1 }), {
      context: { correlationId: "checkout-7", traceparent: "00-a-b-01" },
    });
    await emitSteps(dure, "k", { from: 2, to: 2 });
    await waitFor(
      async () =>
        (await logMessages(database.pool)).filter(({ type }) => type === "echo.heard").length === 2,
      { what: "both echoes" },
    );
    const messages = await logMessages(database.pool);
    const steps = messages.filter(({ type }) => type === "step.taken");
    expect(messages.filter(({ type }) => type === "echo.heard")).toMatchObject([
      { causationId: steps[0]?.id, correlationId: "checkout-7", traceparent: "00-a-b-01" },
      { causationId: steps[1]?.id, correlationId: steps[1]?.id },
    ]);
    expect(await handled(database.pool)).toEqual([]);
  });
});
