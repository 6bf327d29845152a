/** What the relay gives up leaves a tombstone in its place, so that links stay whole; what is redriven says so (law O2, ADR 0018). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Message, RelayOptions } from "../../src/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { type Mood, moodyTransport, refusedForGood } from "./moody-transport.ts";
import {
  createHandledDatabase,
  createTestService,
  emitSteps,
  handled,
  handleInto,
  logMessages,
  numbersByKey,
  type Step,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
let mood: Mood;
/** The numbers of the messages whose handler was told that they were redriven. */
let redriven: number[];

beforeEach(async () => {
  database = await createHandledDatabase("tombstones");
  mood = () => undefined;
  redriven = [];
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

async function start(relay: RelayOptions = {}, handles?: (step: Step) => void): Promise<void> {
  service = createTestService({
    pool: database.pool,
    wrap: (log) => moodyTransport(log, (message) => mood(message)),
    relay: {
      leaseMs: 1_000,
      pollMsMax: 50,
      retry: { attempts: 3, baseMs: 20, maxMs: 60 },
      ...relay,
    },
  });
  const record = handleInto("steps");
  service.dure.on(stepTaken, {}, async (message, tx) => {
    handles?.(message.data);
    if (message.redriven === true) redriven.push(message.data.n);
    await record(message, tx);
  });
  await service.dure.start();
}

const dataOf = (key: string, n: number) => JSON.stringify({ key, n });
const refusing =
  (key: string, n: number): Mood =>
  (message) =>
    message.data === dataOf(key, n) ? refusedForGood : undefined;
const dead = () => service.dure.deadLetters.list();
const waitForDead = (count: number) =>
  waitFor(async () => (await dead()).length === count, { what: `${count} dead letters` });
const orderOf = async () => (await service.dure.status()).order["steps"];
const clean = { gaps: 0, reorders: 0, unverified: 0 };
/** What went over the wire for a key: numbers, and a cross for a tombstone. */
const wire = async (key: string) =>
  (await logMessages(database.pool))
    .filter((message) => message.key === key)
    .map((message) =>
      message.tombstone === true ? "x" : (JSON.parse(message.data) as { n: number }).n,
    );
const publish = (messages: readonly Message[]) =>
  service.log.publish(messages, { fences: [], signal: AbortSignal.timeout(5_000) });
const by = { actor: "ops", reason: "a test" };

describe("an event that the relay gives up under the skip policy", () => {
  it("leaves a tombstone in its place: the key's later events verify, no handler sees it, and nothing counts as a gap", async () => {
    await start({ whenPoisoned: "skip" });
    mood = refusing("bad", 2);
    await service.dure.transaction(async (tx) => {
      for (let n = 1; n <= 4; n += 1) tx.emit(stepTaken, { key: "bad", n });
    });
    await emitSteps(service.dure, "bad", { from: 5, to: 6 });
    expect(numbersByKey(await waitForHandled(database.pool, 5))).toEqual({ bad: [1, 3, 4, 5, 6] });
    expect(await wire("bad")).toEqual([1, "x", 3, 4, 5, 6]);
    const [, tombstone] = await logMessages(database.pool);
    const [letter] = await dead();
    expect(tombstone).toMatchObject({
      id: letter?.messageId,
      source: "steps",
      topic: "step",
      key: "bad",
      link: { kind: "after" },
      data: "null",
    });
    expect(await orderOf()).toMatchObject({ ...clean, verified: 5, tombstones: 1, duplicates: 0 });
  });

  it("is handled when it is redriven after its tombstone, and counts as redriven and not as out of order", async () => {
    await start({ whenPoisoned: "skip" });
    mood = refusing("bad", 1);
    await emitSteps(service.dure, "bad", { to: 3 });
    await waitForHandled(database.pool, 2);
    mood = () => undefined;
    expect(await service.dure.deadLetters.redrive({}, by)).toBe(1);
    expect(numbersByKey(await waitForHandled(database.pool, 3))).toEqual({ bad: [2, 3, 1] });
    expect(redriven).toEqual([1]);
    expect(await wire("bad")).toEqual(["x", 2, 3, 1]);
    expect(await orderOf()).toMatchObject({ ...clean, verified: 2, tombstones: 1, redriven: 1 });
    expect(await dead()).toEqual([]);
  });

  it("does not hold its key when it fails again after a redrive", async () => {
    await start({ whenPoisoned: "skip" });
    mood = refusing("bad", 1);
    await emitSteps(service.dure, "bad", { to: 2 });
    await waitForHandled(database.pool, 1);
    mood = (message) =>
      message.data === dataOf("bad", 1) ? { ...refusedForGood, isPermanent: false } : undefined;
    await service.dure.deadLetters.redrive({}, by);
    await emitSteps(service.dure, "bad", { from: 3, to: 5 });
    await waitForHandled(database.pool, 4);
    await waitForDead(1);
    expect(await wire("bad")).toEqual(["x", 2, 3, 4, 5]);
    expect(await orderOf()).toMatchObject({ ...clean, tombstones: 1 });
  });

  it("is a gap where the broker refuses the tombstone too, after as many attempts as any event has; its key goes on", async () => {
    await start({ whenPoisoned: "skip" });
    let refusals = 0;
    mood = (message) => {
      if (message.tombstone === true) refusals += 1;
      return message.tombstone === true || message.data === dataOf("bad", 2)
        ? { ...refusedForGood, isPermanent: message.tombstone !== true }
        : undefined;
    };
    await emitSteps(service.dure, "bad", { to: 4 });
    expect(numbersByKey(await waitForHandled(database.pool, 3))).toEqual({ bad: [1, 3, 4] });
    expect(await wire("bad")).toEqual([1, 3, 4]);
    expect(refusals).toBe(3);
    expect(await orderOf()).toMatchObject({ gaps: 1, reorders: 0, tombstones: 0 });
    const said = service.logs.filter(({ message }) => message.includes("tombstone"));
    expect(said).toHaveLength(1);
    expect(JSON.stringify(said)).not.toContain('"n":2');
    // Redriven, it is there after all: no gap any more.
    mood = () => undefined;
    await service.dure.deadLetters.redrive({}, by);
    await waitForHandled(database.pool, 4);
    expect(await orderOf()).toMatchObject({ ...clean, redriven: 1, tombstones: 0 });
  });

  it("still gets its tombstone from the next relay when the first one dies before it is sent", async () => {
    await start({ whenPoisoned: "skip" });
    mood = (message) => {
      if (message.tombstone === true) throw new Error("the broker is gone");
      return refusing("bad", 1)(message);
    };
    await emitSteps(service.dure, "bad", { to: 1 });
    await waitForDead(1);
    await service.stop();
    await start({ whenPoisoned: "park-key" });
    mood = () => undefined;
    await emitSteps(service.dure, "bad", { from: 2, to: 3 });
    await waitForHandled(database.pool, 2);
    expect(await wire("bad")).toEqual(["x", 2, 3]);
  });
});

describe("an event that an operator discards on the relay's side", () => {
  it("leaves a tombstone before what waited behind it, also when two operators do it at a time", async () => {
    await start();
    mood = refusing("bad", 2);
    await emitSteps(service.dure, "bad", { to: 5 });
    await waitForDead(1);
    mood = () => undefined;
    const counts = await Promise.all(
      [1, 2].map(() => service.dure.deadLetters.discard({ side: "relay" }, by)),
    );
    expect(counts.toSorted((left, right) => left - right)).toEqual([0, 1]);
    expect(numbersByKey(await waitForHandled(database.pool, 4))).toEqual({ bad: [1, 3, 4, 5] });
    await waitForDrained(service.dure);
    expect(await wire("bad")).toEqual([1, "x", 3, 4, 5]);
    expect(await orderOf()).toMatchObject({ ...clean, verified: 4, tombstones: 1 });
    expect(await dead()).toEqual([]);
    await waitFor(async () => (await service.dure.status()).parkedKeys === 0, {
      what: "no parked key",
    });
  });
});

describe("an event that is redriven in its place", () => {
  it("says so on the wire and counts apart; what waited behind it is verified as ever", async () => {
    await start();
    mood = refusing("bad", 2);
    await emitSteps(service.dure, "bad", { to: 4 });
    await waitForDead(1);
    mood = () => undefined;
    await service.dure.deadLetters.redrive({}, by);
    expect(numbersByKey(await waitForHandled(database.pool, 4))).toEqual({ bad: [1, 2, 3, 4] });
    expect((await logMessages(database.pool)).map((message) => message.redriven === true)).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect(redriven).toEqual([2]);
    expect(await orderOf()).toMatchObject({ ...clean, verified: 3, redriven: 1 });
  });

  it("tells a consumer's handler too, though the message came over the wire as any other", async () => {
    let isBroken = true;
    await start({}, (step) => {
      if (isBroken && step.n === 1) throw new Error("a bug");
    });
    await emitSteps(service.dure, "k", { to: 2 });
    await waitForDead(1);
    isBroken = false;
    await service.dure.deadLetters.redrive({}, by);
    await waitForHandled(database.pool, 2);
    expect(redriven).toEqual([1]);
    expect(await orderOf()).toMatchObject({ ...clean, verified: 2, redriven: 0 });
  });

  it("is still tried again without the flag when nobody redrove it", async () => {
    await start();
    let refusals = 0;
    mood = (message) => {
      if (message.data !== dataOf("k", 1) || refusals >= 2) return undefined;
      refusals += 1;
      return { ...refusedForGood, isPermanent: false };
    };
    await emitSteps(service.dure, "k", { to: 3 });
    await waitForHandled(database.pool, 3);
    expect(redriven).toEqual([]);
    expect(await orderOf()).toMatchObject({ ...clean, verified: 3, redriven: 0, tombstones: 0 });
  });
});

describe("a tombstone and its event, in whatever order and how often they come", () => {
  const event = (n: number, more: Partial<Message> = {}): Message => ({
    id: `m-${n}`,
    source: "elsewhere",
    topic: "step",
    key: "k",
    type: "step.taken",
    version: 1,
    time: "2100-01-01T00:00:00.000Z",
    data: dataOf("k", n),
    link:
      n === 1
        ? { kind: "first" }
        : { kind: "after", previousId: `m-${n - 1}`, previousAt: "2100-01-01T00:00:00.000Z" },
    ...more,
  });
  const tombstone = (n: number) =>
    event(n, { tombstone: true, type: "dure.tombstone", data: "null" });
  const late = (n: number) => event(n, { redriven: true });

  it.each([
    { name: "the tombstone first", sent: [tombstone(1), late(1)], duplicates: 0, tombstones: 1 },
    { name: "the event first", sent: [late(1), tombstone(1)], duplicates: 1, tombstones: 0 },
    {
      name: "both twice",
      sent: [tombstone(1), tombstone(1), late(1), late(1)],
      duplicates: 2,
      tombstones: 1,
    },
    {
      name: "the tombstone before and after",
      sent: [tombstone(1), late(1), tombstone(1)],
      duplicates: 1,
      tombstones: 1,
    },
  ])("$name: the event has its effect once", async ({ sent, duplicates, tombstones }) => {
    await start();
    let count = 0;
    // One by one: each in a batch of its own.
    for (const message of sent) {
      await publish([message]);
      count += 1;
      await waitFor(
        async () => {
          const order = await orderOf();
          return (
            order !== undefined && order.tombstones + order.redriven + order.duplicates === count
          );
        },
        { what: `message ${count}` },
      );
    }
    await publish([event(2)]);
    await waitForHandled(database.pool, 2);
    expect(numbersByKey(await handled(database.pool))).toEqual({ k: [1, 2] });
    await waitFor(async () => (await orderOf())?.verified === 1, { what: "the count" });
    expect(await orderOf()).toMatchObject({ ...clean, duplicates, tombstones, redriven: 1 });
  });

  it("all in one batch: the event has its effect once and its followers verify", async () => {
    await start();
    await publish([tombstone(1), event(2), tombstone(3), event(4), late(1), tombstone(1), late(3)]);
    await waitForHandled(database.pool, 4);
    expect(numbersByKey(await handled(database.pool))).toEqual({ k: [2, 4, 1, 3] });
    await waitFor(async () => (await orderOf())?.redriven === 2, { what: "the count" });
    expect(await orderOf()).toMatchObject({ ...clean, verified: 2 });
  });

  it("is passed by where the key is parked, and nothing is dead of it", async () => {
    let isBroken = true;
    await start({}, () => {
      if (isBroken) throw new Error("a bug");
    });
    await publish([event(1)]);
    await waitForDead(1);
    await publish([tombstone(2), event(3)]);
    await waitFor(async () => (await orderOf())?.tombstones === 1, { what: "the tombstone" });
    isBroken = false;
    await service.dure.deadLetters.redrive({}, by);
    expect(numbersByKey(await waitForHandled(database.pool, 2))).toEqual({ k: [1, 3] });
    expect(await orderOf()).toMatchObject({ ...clean, verified: 2, tombstones: 1 });
    expect(await dead()).toEqual([]);
  });
});
