/** A message that cannot be handled stops its key and no other, and nothing of it is ever silent or lost (law O8). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { event, PermanentError, RetryableError } from "../../src/index.ts";
import type { DureOptions, Message } from "../../src/index.ts";
import type pg from "pg";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handled,
  handleInto,
  numbersByKey,
  type Step,
  stepSchema,
  stepTaken,
  type TestService,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
let attempts: Record<string, number>;
/** What the handler does with a message before it records it. */
let misbehave: (step: Step) => void;

beforeEach(async () => {
  database = await createHandledDatabase("parking");
  attempts = {};
  misbehave = () => {};
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

async function start(
  whenPoisoned: "park-key" | "skip",
  options: Partial<DureOptions<pg.PoolClient>> = {},
): Promise<void> {
  service = createTestService({ pool: database.pool, ...options });
  const record = handleInto("steps");
  service.dure.on(stepTaken, { whenPoisoned }, async (message, tx) => {
    const name = `${message.data.key}/${message.data.n}`;
    attempts[name] = (attempts[name] ?? 0) + 1;
    await record(message, tx);
    misbehave(message.data);
  });
  await service.dure.start();
}

const fails = (bad: string, error: () => Error) => (step: Step) => {
  if (`${step.key}/${step.n}` === bad) throw error();
};
const deadLetters = () => service.dure.deadLetters.list();
const waitForDead = (count: number) =>
  waitFor(async () => (await deadLetters()).length === count, { what: `${count} dead letters` });
const auditOf = async (): Promise<readonly Record<string, unknown>[]> => {
  const { rows } = await database.pool.query<Record<string, unknown>>(
    "select actor, action, subject, reason from dure.audit_entry order by id",
  );
  return rows;
};
const by = { actor: "ops@example.org", reason: "the bug is mended" };

describe("a handler that fails", () => {
  it("stops its key and no other; is tried as often as was said; then it is a dead letter before what waits behind it", async () => {
    misbehave = fails("bad/2", () =>
      Object.assign(new Error("a bug \0 with \ud800 half characters"), { code: "BAD\0" }),
    );
    await start("park-key");
    await emitSteps(service.dure, "bad", { to: 5 });
    await emitSteps(service.dure, "good", { to: 20 });
    await waitForHandled(database.pool, 21);
    await waitForDead(1);
    expect(numbersByKey(await handled(database.pool))).toEqual({
      bad: [1],
      good: Array.from({ length: 20 }, (_, index) => index + 1),
    });
    // Once with its batch, perhaps, and alone as often as attempts were granted.
    expect([3, 4]).toContain(attempts["bad/2"]);
    expect(await deadLetters()).toMatchObject([
      {
        key: "bad",
        side: "consumer",
        consumer: "steps",
        attempts: 3,
        errorCode: "BAD\u2400",
        heldCount: 3,
        type: "step.taken",
      },
    ]);
    expect((await deadLetters())[0]?.lastError).toBe(
      "Error: a bug \u2400 with \ufffd half characters",
    );
    expect(await service.dure.status()).toMatchObject({
      deadLetters: 1,
      parkedKeys: 1,
      waiting: 3,
      order: { steps: { gaps: 0, reorders: 0 } },
    });
  });

  it("gets its message again by redrive, with its id, before those behind it; doing it twice does it once", async () => {
    misbehave = fails("bad/1", () => new PermanentError("no"));
    await start("park-key");
    await emitSteps(service.dure, "bad", { to: 4 });
    await waitForDead(1);
    const [dead] = await deadLetters();
    misbehave = () => {};
    const redriven = await Promise.all(
      [1, 2, 3].map(() => service.dure.deadLetters.redrive({ key: "bad" }, by)),
    );
    expect(redriven.toSorted((left, right) => left - right)).toEqual([0, 0, 1]);
    const rows = await waitForHandled(database.pool, 4);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(rows[0]?.messageId).toBe(dead?.messageId);
    await emitSteps(service.dure, "bad", { from: 5, to: 6 });
    expect(disorderedKeys(await waitForHandled(database.pool, 6))).toEqual([]);
    expect(await auditOf()).toEqual([
      {
        actor: by.actor,
        reason: by.reason,
        action: "dead-letter.redrive",
        subject: `steps/${dead?.messageId}`,
      },
    ]);
    await expect(
      service.dure.deadLetters.redrive({ id: dead?.id ?? "" }, by),
    ).rejects.toMatchObject({ code: "DEAD_LETTER_NOT_FOUND" });
    await waitFor(async () => (await service.dure.status()).parkedKeys === 0, {
      what: "no parked key",
    });
  });

  it("lets its key go on when its message is discarded, with who and why in the audit log", async () => {
    misbehave = fails("bad/1", () => new PermanentError("no"));
    await start("park-key");
    await emitSteps(service.dure, "bad", { to: 3 });
    await waitForDead(1);
    const [dead] = await deadLetters();
    await expect(
      service.dure.deadLetters.discard({ key: "bad" }, { actor: "ops", reason: " " }),
    ).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
    expect(await service.dure.deadLetters.discard({ key: "bad" }, by)).toBe(1);
    expect(await service.dure.deadLetters.discard({ key: "bad" }, by)).toBe(0);
    expect(numbersByKey(await waitForHandled(database.pool, 2))).toEqual({ bad: [2, 3] });
    expect(await auditOf()).toMatchObject([
      { action: "dead-letter.discard", subject: `steps/${dead?.messageId}` },
    ]);
  });

  it("is passed over by its key under the skip policy, and its message can still be redriven", async () => {
    misbehave = fails("bad/2", () => new Error("a bug"));
    await start("skip");
    await emitSteps(service.dure, "bad", { to: 4 });
    await waitForDead(1);
    expect(numbersByKey(await waitForHandled(database.pool, 3))).toEqual({ bad: [1, 3, 4] });
    misbehave = () => {};
    expect(await service.dure.deadLetters.redrive({}, by)).toBe(1);
    expect(numbersByKey(await waitForHandled(database.pool, 4))).toEqual({ bad: [1, 3, 4, 2] });
  });

  it("is not tried before the time it asked for, and recovers in order", async () => {
    let isBroken = true;
    misbehave = (step) => {
      if (isBroken && step.n === 1) throw new RetryableError("busy", { retryAfterMs: 700 });
    };
    await start("park-key");
    await emitSteps(service.dure, "k", { to: 3 });
    await waitFor(async () => (await service.dure.status()).parkedKeys === 1, {
      what: "the parked key",
    });
    isBroken = false;
    await holdsFor(async () => (await handled(database.pool)).length === 0, {
      what: "patience",
      forMs: 400,
    });
    expect(disorderedKeys(await waitForHandled(database.pool, 3))).toEqual([]);
  });
});

describe("a message that nobody can read", () => {
  const unreadable = (more: Partial<Message>): Message => ({
    id: `odd-${more.key ?? ""}`,
    source: "elsewhere",
    topic: "step",
    key: "k",
    type: "step.taken",
    version: 1,
    time: "2026-01-01T00:00:00.000Z",
    data: '{"key":"k","n":1}',
    link: { kind: "first" },
    ...more,
  });

  it("is a dead letter at once, each with its reason, and stops its own key only", async () => {
    await start("park-key", { contracts: [stepTaken] });
    const sent = [
      unreadable({ key: "unknown", type: "step.unheard-of" }),
      unreadable({ key: "json", data: "{" }),
      unreadable({ key: "schema", data: '{"n":"one"}' }),
      unreadable({ key: "version", version: 2 }),
      unreadable({ key: "fine" }),
    ];
    await service.log.publish(sent, { fences: [], signal: AbortSignal.timeout(5_000) });
    await waitForDead(4);
    const codes = Object.fromEntries(
      (await deadLetters()).map(({ key, errorCode, attempts: count }) => [
        key,
        `${errorCode} ${count}`,
      ]),
    );
    expect(codes).toEqual({
      unknown: "UNKNOWN_MESSAGE_TYPE 1",
      json: "MESSAGE_UNREADABLE 1",
      schema: "MESSAGE_UNREADABLE 1",
      version: "MESSAGE_VERSION_UNSUPPORTED 1",
    });
    await waitForHandled(database.pool, 1);
    const [unknown] = await deadLetters();
    expect(unknown?.lastError).not.toContain('"one"');
  });

  it("is ignored when its type is unknown and the service did not say which types there are", async () => {
    await start("park-key");
    await service.log.publish(
      [unreadable({ type: "step.unheard-of" }), unreadable({ id: "next" })],
      { fences: [], signal: AbortSignal.timeout(5_000) },
    );
    await waitForHandled(database.pool, 1);
    expect(await deadLetters()).toEqual([]);
  });

  it("is read by the handler of its version, where there are handlers of several", async () => {
    const second = event("step.taken", {
      version: 2,
      schema: stepSchema,
      key: (data: Step) => data.key,
    });
    service = createTestService({ pool: database.pool });
    service.dure.on(stepTaken, {}, handleInto("one"));
    service.dure.on(second, {}, handleInto("two"));
    await service.dure.start();
    await service.dure.transaction(async (tx) => {
      tx.emit(stepTaken, { key: "k", n: 1 });
      tx.emit(second, { key: "k", n: 2 });
    });
    expect(await waitForHandled(database.pool, 1, { consumer: "one" })).toMatchObject([{ n: 1 }]);
    expect(await waitForHandled(database.pool, 1, { consumer: "two" })).toMatchObject([{ n: 2 }]);
    expect(await deadLetters()).toEqual([]);
  });
});
