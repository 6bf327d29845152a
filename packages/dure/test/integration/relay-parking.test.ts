/** An event that the transport refuses stops its key and no other; a transport that is down costs no attempts (laws O4, O8). */
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Publisher, PublishOutcome, RelayOptions, Transport } from "../../src/index.ts";
import type { EventLog } from "../../src/postgres/index.ts";
import { tcpProxy } from "../../../../tools/servers/tcp-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
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
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
/** The key and number that the transport refuses, and for how long. */
let refused: { readonly data: string; times: number; readonly isPermanent: boolean } | undefined;

beforeEach(async () => {
  database = await createHandledDatabase("relay_parking");
  refused = undefined;
});
afterEach(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

/** The real log, which refuses one message, and those of its key behind it in the batch, as a broker would. */
function refusing(log: EventLog): Transport {
  const publish: Publisher["publish"] = async (messages, options) => {
    const refusedKeys = new Set<string>();
    const outcomes = messages.map((message): PublishOutcome => {
      const isBad = refused !== undefined && message.data === refused.data && refused.times > 0;
      if (isBad && refused !== undefined) refused.times -= 1;
      if (isBad) refusedKeys.add(message.key);
      return refusedKeys.has(message.key)
        ? {
            kind: "refused",
            code: "TOO_LARGE",
            error: "the broker does not like it",
            isPermanent: isBad && refused?.isPermanent === true,
          }
        : { kind: "accepted" };
    });
    await log.publish(
      messages.filter((_message, index) => outcomes[index]?.kind === "accepted"),
      options,
    );
    return outcomes;
  };
  return { ...log, publish };
}

async function start(relay: RelayOptions = {}): Promise<void> {
  service = createTestService({
    pool: database.pool,
    wrap: refusing,
    relay: {
      leaseMs: 1_000,
      pollMsMax: 50,
      retry: { attempts: 3, baseMs: 20, maxMs: 60 },
      ...relay,
    },
  });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
}

const dataOf = (key: string, n: number) => JSON.stringify({ key, n });
const deadLetters = () => service.dure.deadLetters.list();
const waitForDead = () =>
  waitFor(async () => (await deadLetters()).length === 1, { what: "the dead letter" });
const numbers = async (key: string) =>
  (await logMessages(database.pool))
    .filter((message) => message.key === key && message.tombstone !== true)
    .map((message) => (JSON.parse(message.data) as { n: number }).n);

describe("an event that is refused", () => {
  it("is tried again while its key waits and others flow, and its key goes on in order", async () => {
    await start();
    refused = { data: dataOf("bad", 2), times: 2, isPermanent: false };
    await service.dure.transaction(async (tx) => {
      for (let n = 1; n <= 4; n += 1) tx.emit(stepTaken, { key: "bad", n });
      for (let n = 1; n <= 4; n += 1) tx.emit(stepTaken, { key: "good", n });
    });
    await emitSteps(service.dure, "bad", { from: 5, to: 8 });
    const rows = await waitForHandled(database.pool, 12);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(await numbers("bad")).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await waitFor(async () => (await service.dure.status()).parkedKeys === 0, {
      what: "no parked key",
    });
    expect((await service.dure.status()).order["steps"]).toMatchObject({
      gaps: 0,
      reorders: 0,
      verified: 12,
    });
  });

  it("is a dead letter when it is refused for good; a redrive sends it first, with its id, and then what waited", async () => {
    await start();
    refused = { data: dataOf("bad", 2), times: Infinity, isPermanent: true };
    await emitSteps(service.dure, "bad", { to: 5 });
    await emitSteps(service.dure, "good", { to: 5 });
    await waitForDead();
    await waitFor(async () => (await numbers("good")).length === 5, { what: "the other key" });
    await waitForDrained(service.dure);
    expect(await numbers("bad")).toEqual([1]);
    expect(await deadLetters()).toMatchObject([
      {
        side: "relay",
        consumer: "steps",
        key: "bad",
        attempts: 1,
        errorCode: "TOO_LARGE",
        heldCount: 3,
      },
    ]);
    const { rows: states } = await database.pool.query<{ state: string; count: number }>(
      "select state, count(*)::int as count from dure.outbox_status where key = 'bad' group by state order by state",
    );
    expect(states).toEqual([
      { state: "DEAD", count: 1 },
      { state: "PARKED", count: 3 },
      { state: "PUBLISHED", count: 1 },
    ]);
    const [dead] = await deadLetters();
    refused = undefined;
    expect(await service.dure.deadLetters.redrive({ side: "relay" }, { actor: "ops" })).toBe(1);
    await emitSteps(service.dure, "bad", { from: 6, to: 7 });
    await waitFor(async () => (await numbers("bad")).length === 7, { what: "all of the key" });
    expect(await numbers("bad")).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect((await logMessages(database.pool)).filter(({ key }) => key === "bad")[1]?.id).toBe(
      dead?.messageId,
    );
  });

  it("keeps its place after the relay was replaced while its key was parked", async () => {
    await start();
    refused = { data: dataOf("bad", 1), times: Infinity, isPermanent: true };
    await emitSteps(service.dure, "bad", { to: 3 });
    await waitForDead();
    await service.stop();
    await start();
    await emitSteps(service.dure, "bad", { from: 4, to: 5 });
    await waitForDrained(service.dure);
    expect(await numbers("bad")).toEqual([]);
    refused = undefined;
    await service.dure.deadLetters.redrive({}, { actor: "ops" });
    await waitFor(async () => (await numbers("bad")).length === 5, { what: "all of the key" });
    expect(await numbers("bad")).toEqual([1, 2, 3, 4, 5]);
  });

  it("lets its key go on at once under the skip policy, and can still be redriven", async () => {
    await start({ whenPoisoned: "skip" });
    refused = { data: dataOf("bad", 2), times: Infinity, isPermanent: true };
    await emitSteps(service.dure, "bad", { to: 2 });
    await waitForDead();
    await emitSteps(service.dure, "bad", { from: 3, to: 4 });
    await waitFor(async () => (await numbers("bad")).length === 3, { what: "the rest of the key" });
    expect(await numbers("bad")).toEqual([1, 3, 4]);
    refused = undefined;
    await service.dure.deadLetters.redrive({}, { actor: "ops" });
    await waitFor(async () => (await numbers("bad")).includes(2), { what: "the redriven event" });
  });

  it("lets its key go on when it is discarded", async () => {
    await start();
    refused = { data: dataOf("bad", 1), times: Infinity, isPermanent: true };
    await emitSteps(service.dure, "bad", { to: 3 });
    await waitForDead();
    expect(
      await service.dure.deadLetters.discard({}, { actor: "ops", reason: "nobody needs it" }),
    ).toBe(1);
    await waitFor(async () => (await numbers("bad")).length === 2, { what: "the rest of the key" });
    expect(await numbers("bad")).toEqual([2, 3]);
  });
});

describe("a transport that cannot be reached", () => {
  it("harms no business transaction; later all drains in order, no attempt is used up, and it is said once", async () => {
    await using logDatabase = await createTestDatabase({ name: "log_elsewhere" });
    await using proxy = await tcpProxy(logDatabase.url);
    const logPool = new pg.Pool({
      connectionString: proxy.url,
      max: 8,
      connectionTimeoutMillis: 2_000,
    });
    logPool.on("error", () => {});
    service = createTestService({ pool: database.pool, logPool });
    service.dure.on(stepTaken, {}, handleInto("steps"));
    await service.dure.start();
    await emitSteps(service.dure, "k1", { to: 5 });
    await waitForHandled(database.pool, 5);
    proxy.refuse();
    const startedAt = performance.now();
    for (const key of ["k1", "k2", "k3"])
      await emitSteps(service.dure, key, { from: key === "k1" ? 6 : 1, to: 100 });
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await holdsFor(async () => (await service.dure.status()).pending >= 290, {
      what: "the pile in the outbox",
      forMs: 2_000,
    });
    proxy.resume();
    const rows = await waitForHandled(database.pool, 300, { timeoutMs: 20_000 });
    expect(disorderedKeys(rows)).toEqual([]);
    const { order, parkedKeys, deadLetters: dead } = await service.dure.status();
    expect({ parkedKeys, dead }).toEqual({ parkedKeys: 0, dead: 0 });
    expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
    const said = (text: string) =>
      service.logs.filter(({ message, level }) => level === "warn" && message.includes(text))
        .length;
    expect(said("relay could not publish")).toBe(1);
    expect(said("consumer cannot read")).toBeLessThanOrEqual(1);
    expect(
      service.logs.filter(({ level }) => level === "warn" || level === "error").length,
    ).toBeLessThan(8);
    await service.stop();
    await logPool.end();
  });
});
