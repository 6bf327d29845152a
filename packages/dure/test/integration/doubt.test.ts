/** A lost answer to COMMIT is said to be in doubt, never taken for a no or a yes, and costs no second effect (laws O5, I1, X3). */
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type TcpProxy, tcpProxy } from "../../../../tools/servers/tcp-proxy.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  logMessages,
  stepTaken,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let proxy: TcpProxy;
let pool: pg.Pool;

beforeEach(async () => {
  database = await createHandledDatabase("doubt");
  proxy = await tcpProxy(database.url);
  pool = new pg.Pool({ connectionString: proxy.url, max: 10, connectionTimeoutMillis: 2_000 });
  pool.on("error", () => {});
});
afterEach(async () => {
  await pool.end();
  await proxy[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const countOf = async (sql: string): Promise<number> =>
  (await database.pool.query<{ count: number }>(`select count(*)::int as count from ${sql}`))
    .rows[0]?.count ?? -1;

describe("a COMMIT whose answer is lost", () => {
  it("is in doubt for the caller, though it has committed, and its event is published", async () => {
    let isArmed = false;
    await using service = createTestService({
      pool,
      relay: false,
      faults: {
        hit(point) {
          if (isArmed && point === "transaction.before-commit") proxy.blackHole("toClient");
        },
      },
    });
    await service.dure.start();
    isArmed = true;
    const doubtful = emitSteps(service.dure, "k", { to: 1 });
    doubtful.catch(() => undefined);
    await waitFor(async () => (await countOf("dure.outbox_message")) === 1, { what: "the commit" });
    isArmed = false;
    proxy.cut();
    proxy.resume();
    await expect(doubtful).rejects.toMatchObject({ code: "COMMIT_IN_DOUBT" });
    await using relay = createTestService({ pool: database.pool });
    await relay.dure.start();
    await waitForDrained(relay.dure);
    expect(await logMessages(database.pool)).toHaveLength(1);
  });

  it("is no second effect for a consumer, and no attempt: the batch comes again and is known", async () => {
    let lost = 0;
    const service = createTestService({
      pool,
      faults: {
        hit(point) {
          if (point !== "inbox.before-commit" || lost >= 3) return;
          lost += 1;
          proxy.blackHole("toClient");
        },
      },
    });
    service.dure.on(stepTaken, {}, handleInto("steps"));
    await using writer = createTestService({ pool: database.pool });
    await writer.dure.start();
    await emitSteps(writer.dure, "k", { to: 10 });
    await waitForDrained(writer.dure);
    await service.dure.start();
    for (let round = 1; round <= 3; round += 1) {
      await waitFor(() => lost === round, { what: `loss ${round}` });
      if (round === 1)
        await waitFor(async () => (await countOf("handled")) > 0, { what: "the commit" });
      proxy.cut();
      proxy.resume();
      if (round < 3) await emitSteps(writer.dure, "k", { from: 10 + round, to: 10 + round });
    }
    const rows = await waitForHandled(database.pool, 12);
    expect(rows).toHaveLength(12);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(await countOf("dure.parked_message")).toBe(0);
    await service.stop();
  });
});

describe("while the relay talks to a slow transport", () => {
  it("no transaction is open and no snapshot is held", async () => {
    let finish = (): void => {};
    const slow = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let isPublishing = false;
    await using service = createTestService({
      pool: database.pool,
      wrap: (log) => ({
        ...log,
        async publish(messages, options) {
          isPublishing = true;
          await slow;
          return log.publish(messages, options);
        },
      }),
    });
    await service.dure.start();
    await emitSteps(service.dure, "k", { to: 3 });
    await waitFor(() => isPublishing, { what: "the publication" });
    // Heartbeats come and go; what holds back vacuum is what stays.
    await waitFor(
      async () =>
        (await countOf(
          "pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and (backend_xmin is not null or backend_xid is not null or state like 'idle in transaction%')",
        )) === 0,
      { what: "a server without open transactions", timeoutMs: 2_000 },
    );
    finish();
    await waitForDrained(service.dure);
  });
});

describe("many keys that failed together", () => {
  it("all recover, each in its order", async () => {
    let isBroken = true;
    await using service = createTestService({
      pool: database.pool,
      consumer: { pollMsMax: 50, retry: { attempts: 20, baseMs: 50, maxMs: 200 } },
    });
    const record = handleInto("steps");
    service.dure.on(stepTaken, {}, async (message, tx) => {
      if (isBroken) throw new Error("the payment provider is away");
      await record(message, tx);
    });
    await service.dure.start();
    const keys = Array.from({ length: 120 }, (_, index) => `key-${index}`);
    for (const n of [1, 2, 3]) {
      await service.dure.transaction(async (tx) => {
        for (const key of keys) tx.emit(stepTaken, { key, n });
      });
    }
    await waitFor(async () => (await service.dure.status()).parkedKeys === keys.length, {
      what: "all keys parked",
    });
    isBroken = false;
    const rows = await waitForHandled(database.pool, keys.length * 3);
    expect(disorderedKeys(rows)).toEqual([]);
    await waitFor(async () => (await countOf("dure.parked_message")) === 0, {
      what: "nothing parked",
    });
  });
});

describe("a relay that is cut off past its lease, and whose statements arrive late", () => {
  it.for(["relay.before-publish", "relay.after-publish"] as const)(
    "at %s changes nothing any more: another has taken over",
    async (point) => {
      let hits = 0;
      const cutOff = createTestService({
        pool,
        relay: { leaseMs: 1_000, pollMsMax: 50, batchSizeMax: 5 },
        faults: {
          hit(reached) {
            if (reached !== point) return;
            hits += 1;
            if (hits === 2) proxy.blackHole("toServer");
          },
        },
      });
      await using writer = createTestService({ pool: database.pool, relay: false });
      writer.dure.on(stepTaken, {}, handleInto("steps"));
      await writer.dure.start();
      const keys = ["a", "b", "c"];
      for (const key of keys) await emitSteps(writer.dure, key, { to: 20 });
      await cutOff.dure.start();
      await waitFor(() => hits >= 2, { what: "the cut" });
      await using heir = createTestService({ pool: database.pool });
      await heir.dure.start();
      await waitForDrained(writer.dure);
      for (const key of keys) await emitSteps(writer.dure, key, { from: 21, to: 30 });
      await waitForDrained(writer.dure);
      const copies = await countOf("dure.log_message");
      expect(copies - 90 > 0).toBe(point === "relay.after-publish");
      proxy.resume();
      // By its heartbeat, by the tick that was about to send, or by the log, which refuses what was sent: whichever
      // comes first.
      const isNoticed = () =>
        cutOff.logs.some((line) => /lost its lease|was taken over/.test(JSON.stringify(line)));
      await waitFor(isNoticed, { what: "the loss of the lease, noticed" });
      await waitFor(async () => (await writer.dure.status()).relays === 2, {
        what: "both members",
      });
      for (const key of keys) await emitSteps(writer.dure, key, { from: 31, to: 35 });
      const rows = await waitForHandled(database.pool, 105);
      await waitForDrained(writer.dure);
      expect(disorderedKeys(rows)).toEqual([]);
      expect(await countOf("dure.log_message")).toBe(copies + 15);
      expect((await writer.dure.status()).order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
      await cutOff.stop();
    },
  );
});
