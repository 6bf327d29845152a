/**
 * With the broker down, business goes on; afterwards everything drains, in order per key (laws O4, X3).
 * The long form: DURE_OUTAGE_EVENTS=10000 DURE_OUTAGE_MS=60000.
 */
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/index.ts";
import { type TcpProxy, tcpProxy } from "../../../../tools/servers/tcp-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  type LogLine,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

const eventCount = Number(process.env["DURE_OUTAGE_EVENTS"] ?? 400);
const outageMs = Number(process.env["DURE_OUTAGE_MS"] ?? 1_500);
/** What the service is told to wait at most, so that an outage is longer than it. */
const boundMs = Math.min(30_000, outageMs / 3);
const timeoutMs = 60_000 + 5 * outageMs;
const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`);
const perKey = Math.ceil(eventCount / keys.length);
const lead = 3;

let database: TestDatabase;
let broker: TestDatabase;
let proxy: TcpProxy;
let logPool: pg.Pool;
let isDown: boolean;
let service: TestService;

beforeEach(async () => {
  database = await createHandledDatabase("outage", { poolSizeMax: 20 });
  broker = await createTestDatabase({ name: "outage_broker" });
  proxy = await tcpProxy(broker.url);
  logPool = new pg.Pool({
    connectionString: proxy.url,
    max: 10,
    connectionTimeoutMillis: boundMs,
  });
  logPool.on("error", () => {}); // said again by the next query
  isDown = false;
});
afterEach(async () => {
  await service.stop();
  await logPool.end();
  await proxy[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

interface Outage {
  readonly down: () => void;
  readonly up: () => void;
  readonly cutsPublications?: boolean;
}

/** How the broker goes down, and how it comes back. */
const outages: Readonly<Record<string, Outage>> = {
  "refuses connections": {
    down: () => proxy.refuse(),
    up: () => proxy.resume(),
  },
  "is silent, and hears everything late": {
    down: () => proxy.blackHole(),
    up: () => proxy.resume(),
  },
  "is silent, and is another when it comes back": {
    down: () => proxy.blackHole(),
    up: () => {
      proxy.abandon();
      proxy.resume();
    },
  },
  "is slower than anybody waits": {
    down: () => proxy.setLatency(boundMs * 2),
    up: () => proxy.setLatency(0),
  },
  "loses its connections in the middle of each publication": {
    down: () => {},
    up: () => {},
    cutsPublications: true,
  },
};

async function start(cutsPublications: boolean): Promise<void> {
  let cuts = 0;
  service = createTestService({
    pool: database.pool,
    logPool,
    statementMsMax: boundMs,
    relay: { leaseMs: 1_000, pollMsMax: 100, publishMsMax: boundMs },
    wrap: (log) => ({
      ...log,
      async publish(messages, options) {
        if (!isDown || !cutsPublications) return log.publish(messages, options);
        // Either it is not executed, or it is and nobody is told.
        cuts += 1;
        proxy.blackHole(cuts % 2 === 0 ? "toServer" : "toClient");
        const published = log.publish(messages, options);
        let isOver = false;
        const over = (): void => void (isOver = true);
        published.then(over, over);
        // It may first have to connect, so once is not enough.
        while (!isOver) {
          await systemClock.sleep(20);
          proxy.cut();
        }
        proxy.resume();
        return published;
      },
    }),
  });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  await Promise.all(keys.map((key) => emitSteps(service.dure, key, { to: lead })));
  await waitForHandled(database.pool, keys.length * lead);
}

/** Writes the events evenly over the outage; whatever fails, fails the test. */
async function doBusiness(): Promise<{ readonly latencies: readonly number[] }> {
  const latencies: number[] = [];
  const startedAt = performance.now();
  await Promise.all(
    keys.map(async (key) => {
      for (let n = 1; n <= perKey; n += 1) {
        const dueAt = startedAt + (outageMs * (n - 1)) / perKey;
        await systemClock.sleep(Math.max(0, dueAt - performance.now()));
        const begunAt = performance.now();
        await emitSteps(service.dure, key, { from: lead + n, to: lead + n });
        latencies.push(performance.now() - begunAt);
      }
    }),
  );
  return { latencies: latencies.toSorted((left, right) => left - right) };
}

const timesSaid = (logs: readonly LogLine[]): Readonly<Record<string, number>> =>
  Object.fromEntries(
    [...Map.groupBy(logs, ({ message }) => message)].map(([message, own]) => [message, own.length]),
  );

describe("a broker that", () => {
  it.for(Object.entries(outages))(
    "%s harms no business transaction, costs no attempt, and gets everything in order afterwards",
    { timeout: timeoutMs },
    async ([name, { down, up, cutsPublications = false }]) => {
      await start(cutsPublications);
      const saidBefore = service.logs.length;
      down();
      isDown = true;
      const { latencies } = await doBusiness();
      const piledUp = (await service.dure.status()).pending;
      expect(piledUp).toBeGreaterThanOrEqual(keys.length * perKey * 0.9);
      const said = service.logs.slice(saidBefore);
      isDown = false;
      up();
      const upAt = performance.now();
      const total = keys.length * (perKey + lead);
      const rows = await waitForHandled(database.pool, total, { timeoutMs });
      const drainedMs = performance.now() - upAt;
      await waitForDrained(service.dure);
      expect(rows).toHaveLength(total);
      expect(disorderedKeys(rows)).toEqual([]);
      const { order, deadLetters, parkedKeys } = await service.dure.status();
      expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, unverified: 0 });
      expect({ deadLetters, parkedKeys }).toEqual({ deadLetters: 0, parkedKeys: 0 });
      expect(timesSaid(said)["relay could not publish and tries again"]).toBe(1);
      for (const [message, times] of Object.entries(timesSaid(said))) {
        // Between two cuts the consumer may well be back for longer than it takes to call that the end.
        expect(times, message).toBeLessThanOrEqual(cutsPublications ? 1 + outageMs / 5_000 : 1);
      }
      await waitFor(() => service.logs.some(({ message }) => message === "relay publishes again"), {
        what: "the good news",
      });
      report(name, { total, piledUp, drainedMs, latencies, order: order["steps"], said });
    },
  );
});

describe("a transport that never answers, and does not hear that it was given up", () => {
  it("is asked again after the bound; what it did after all, much later, is dropped as a copy", async () => {
    const late: (() => Promise<unknown>)[] = [];
    service = createTestService({
      pool: database.pool,
      relay: { leaseMs: 1_000, pollMsMax: 100, publishMsMax: 500 },
      wrap: (log) => ({
        ...log,
        publish(messages, options) {
          if (late.length >= 2) return log.publish(messages, options);
          late.push(() =>
            log.publish(messages, { ...options, signal: new AbortController().signal }),
          );
          return new Promise(() => {});
        },
      }),
    });
    service.dure.on(stepTaken, {}, handleInto("steps"));
    await service.dure.start();
    for (const key of keys) await emitSteps(service.dure, key, { to: 3 });
    const rows = await waitForHandled(database.pool, keys.length * 3);
    await waitForDrained(service.dure);
    expect(late).toHaveLength(2);
    const complaints = service.logs.filter(({ message }) => message.includes("could not publish"));
    expect(JSON.stringify(complaints)).toContain("did not answer within 500 ms");
    expect(complaints).toHaveLength(1);
    for (const publish of late) await publish();
    await waitFor(async () => ((await service.dure.status()).order["steps"]?.duplicates ?? 0) > 0, {
      what: "the copies to be dropped",
    });
    expect(disorderedKeys(rows)).toEqual([]);
    expect((await service.dure.status()).order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
  });
});

/** What the long form is run for. */
function report(
  name: string,
  facts: {
    readonly total: number;
    readonly piledUp: number;
    readonly drainedMs: number;
    readonly latencies: readonly number[];
    readonly order: unknown;
    readonly said: readonly LogLine[];
  },
): void {
  if (process.env["DURE_OUTAGE_EVENTS"] === undefined) return;
  const { latencies, drainedMs, said, ...rest } = facts;
  const quantile = (share: number) =>
    Math.round((latencies[Math.floor((latencies.length - 1) * share)] ?? 0) * 10) / 10;
  console.log(name, {
    ...rest,
    outageMs,
    drainedMs: Math.round(drainedMs),
    transactionMs: { p50: quantile(0.5), p99: quantile(0.99), max: quantile(1) },
    said: timesSaid(said),
  });
}
