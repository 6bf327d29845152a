/**
 * A topic that cannot take messages for a while uses up no attempts and holds up no other topic; when it is
 * back everything of it goes, in order per key (laws O2, O4, O8; ADR 0019).
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { event } from "../../src/index.ts";
import type { PublishOutcome, Transport } from "../../src/index.ts";
import type { EventLog } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import { type Mood, moodyTransport } from "./moody-transport.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  logMessages,
  type Step,
  stepSchema,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

const eventCount = Number(process.env["DURE_OUTAGE_EVENTS"] ?? 2_000);
const keyCount = eventCount / 10;
const walked = event("walk.done", {
  version: 1,
  schema: stepSchema,
  key: (data: Step) => data.key,
});
const out: PublishOutcome = {
  kind: "unavailable",
  code: "LEADER_NOT_AVAILABLE",
  error: "the topic has no leader",
};

let database: TestDatabase;
let service: TestService;
let mood: Mood;
/** How many messages of each publication were of the topic that is out. */
let tries: number[];

beforeEach(async () => {
  database = await createHandledDatabase("topic_outage");
  mood = (message) => (message.topic === "walk" ? out : undefined);
  tries = [];
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

function watched(log: EventLog): Transport {
  const moody = moodyTransport(log, (message) => mood(message));
  return {
    ...moody,
    publish(messages, options) {
      tries.push(messages.filter(({ topic }) => topic === "walk").length);
      return moody.publish(messages, options);
    },
  };
}

async function start(): Promise<void> {
  service = createTestService({
    pool: database.pool,
    wrap: watched,
    relay: {
      leaseMs: 1_000,
      pollMsMax: 50,
      batchSizeMax: 100,
      retry: { attempts: 3, baseMs: 20, maxMs: 200 },
    },
  });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  service.dure.on(walked, { group: "walks" }, handleInto("walks"));
  await service.dure.start();
}

/** Ten of each key. */
async function emitWalks(count: number): Promise<void> {
  for (let n = 1; n <= 10; n += 1) {
    for (let from = 0; from < count / 10; from += 500) {
      await service.dure.transaction(async (tx) => {
        for (let key = from; key < Math.min(from + 500, count / 10); key += 1) {
          tx.emit(walked, { key: `w${key}`, n });
        }
      });
    }
  }
}

const isSaid = (text: string) => service.logs.filter(({ message }) => message.includes(text));
const onTheWire = async (topic: string) =>
  (await logMessages(database.pool)).filter((message) => message.topic === topic);

describe("a topic that is out", () => {
  it("waits without an attempt while others flow, is asked with one message, is said once, and drains in order", async () => {
    await start();
    await emitWalks(eventCount);
    await waitForDrained(service.dure, { timeoutMs: 60_000 });
    await waitFor(async () => isSaid("cannot take messages").length === 1, { what: "the word" });
    tries.length = 0;
    // New events of both topics while one is out, of keys that wait already and of new ones.
    const late = Array.from({ length: 40 }, (_, index) => ({
      key: `w${keyCount - 20 + index}`,
      n: index < 20 ? 11 : 1,
    }));
    const total = eventCount + late.length;
    await service.dure.transaction(async (tx) => {
      for (const step of late) tx.emit(walked, step);
    });
    await emitSteps(service.dure, "k", { to: 20 });
    await waitForHandled(database.pool, 20);
    await holdsFor(async () => (await onTheWire("walk")).length === 0, {
      what: "the outage",
      forMs: 500,
    });
    expect(Math.max(...tries)).toBeLessThanOrEqual(1);
    // Up to 200 ms apart, with full jitter.
    expect(tries.filter((count) => count > 0).length).toBeLessThan(60);
    const status = await service.dure.status();
    expect(status).toMatchObject({ deadLetters: 0, parkedKeys: keyCount + 20, waiting: total });
    const { rows } = await database.pool.query(
      "select max(attempts) as attempts from dure.parked_message",
    );
    expect(rows).toEqual([{ attempts: 0 }]);
    mood = () => undefined;
    await emitSteps(service.dure, "k", { from: 21, to: 40 });
    const rowsOfWalks = await waitForHandled(database.pool, total, {
      consumer: "walks",
      timeoutMs: 60_000,
    });
    expect(rowsOfWalks).toHaveLength(total);
    expect(disorderedKeys(rowsOfWalks)).toEqual([]);
    expect(disorderedKeys(await waitForHandled(database.pool, 40))).toEqual([]);
    const { order } = await service.dure.status();
    for (const group of ["walks", "steps"]) {
      expect(order[group]).toMatchObject({ gaps: 0, reorders: 0, unverified: 0, redriven: 0 });
    }
    expect(isSaid("cannot take messages")).toHaveLength(1);
    expect(isSaid("takes messages again")).toHaveLength(1);
    await waitFor(async () => (await service.dure.status()).waiting === 0, { what: "an end" });
  }, 120_000);

  it("loses nothing when the relay is replaced in the middle: the next one learns it anew and goes on in order", async () => {
    await start();
    await emitWalks(200);
    await waitForDrained(service.dure);
    await service.stop();
    await start();
    await emitWalks(200);
    await waitForDrained(service.dure);
    let taken = 0;
    // Comes back, takes a few, and is out again.
    mood = ({ topic }) => {
      if (topic !== "walk") return undefined;
      taken += 1;
      return taken > 30 ? out : undefined;
    };
    await waitFor(async () => (await onTheWire("walk")).length >= 20, { what: "some" });
    await service.stop();
    mood = () => undefined;
    await start();
    await waitFor(async () => (await onTheWire("walk")).length >= 400, { what: "all" });
    const seen = new Map<string, number[]>();
    for (const { key, data } of await onTheWire("walk")) {
      seen.set(key, [...(seen.get(key) ?? []), (JSON.parse(data) as Step).n]);
    }
    const twice = [...Array(10).keys(), ...Array(10).keys()].map((n) => n + 1);
    for (const [key, numbers] of seen) expect(numbers, key).toEqual(twice);
    expect((await service.dure.status()).deadLetters).toBe(0);
  }, 60_000);
});
