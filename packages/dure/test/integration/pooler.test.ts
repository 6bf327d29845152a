/** Behind a pooler in transaction mode nothing is lost, every key keeps its order, and nothing of a session leaks (laws O3, O6, X3). */
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { migrate, readMigrations } from "../../src/postgres/index.ts";
import type { ChildPlan } from "../crash/service-child.ts";
import {
  findPgBouncer,
  knowsNamedStatements,
  type PgBouncer,
  startPgBouncer,
} from "../support/pgbouncer.ts";
import { leaveOut } from "../support/leave-out.ts";
import { hasField, spawnChild } from "../support/spawn-child.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledTable,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  logMessages,
  stepTaken,
  type TestService,
  type TestServiceOptions,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

const program = await findPgBouncer();
const serverConnectionsMax = 4;
const keys = Array.from({ length: 12 }, (_, index) => `key-${index}`);
/** Where the pooler passes named statements on, it must also do without. */
const variants =
  program !== undefined && (await knowsNamedStatements(program))
    ? [
        { mode: "as it comes", settings: {} },
        { mode: "without named statements", settings: { max_prepared_statements: 0 } },
      ]
    : [{ mode: "as it comes", settings: {} }];

let database: TestDatabase;
let bouncer: PgBouncer;
const pools: pg.Pool[] = [];
const started: TestService[] = [];

beforeEach(async (context) => {
  if (program === undefined)
    leaveOut(context, "pgbouncer is not installed (Debian: apt-get install pgbouncer)");
  database = await createTestDatabase({ migrate: false, name: "pooler" });
  bouncer = await startPgBouncer(database.url, { serverConnectionsMax });
});
afterEach(async () => {
  for (const service of started.splice(0)) await service.stop();
  for (const pool of pools.splice(0)) await pool.end();
  await bouncer?.[Symbol.asyncDispose]();
  await database?.[Symbol.asyncDispose]();
});

/** A pool with many more connections to the pooler than the pooler has to the server. */
function createPool(url = bouncer.url, max = 20): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max, connectionTimeoutMillis: 10_000 });
  pool.on("error", () => {}); // a query on a lost connection says it again
  pools.push(pool);
  return pool;
}

async function createSchema(): Promise<void> {
  const pool = createPool();
  await migrate({ pool });
  await createHandledTable(pool);
}

async function start(
  options: Partial<TestServiceOptions> = {},
  handler = handleInto("steps"),
): Promise<TestService> {
  const service = createTestService({ pool: createPool(), ...options });
  service.dure.on(stepTaken, {}, handler);
  await service.dure.start();
  started.push(service);
  return service;
}

/** Runs the statement on each of the pooler's connections to the server: while a transaction is open it has its own. */
async function onEachServer(
  statement: string,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const pool = new pg.Pool({ connectionString: bouncer.url, max: serverConnectionsMax });
  const clients = await Promise.all(
    Array.from({ length: serverConnectionsMax }, () => pool.connect()),
  );
  await Promise.all(clients.map((client) => client.query("begin")));
  const results = await Promise.all(
    clients.map((client) => client.query<Record<string, unknown>>(statement)),
  );
  await Promise.all(clients.map((client) => client.query("commit")));
  for (const client of clients) client.release();
  await pool.end();
  return results.flatMap(({ rows }) => rows);
}

const deafness = (service: TestService) =>
  service.logs.filter(({ message }) => message.includes("NOTIFY does not arrive"));

describe("behind a pooler in transaction mode", () => {
  it.for(variants)(
    "two services ($mode) lose nothing and keep each key's order, also when the pooler drops all connections",
    async ({ settings }) => {
      await bouncer[Symbol.asyncDispose]();
      bouncer = await startPgBouncer(database.url, { serverConnectionsMax, settings });
      const applied = await Promise.all([1, 2, 3, 4, 5].map(() => migrate({ pool: createPool() })));
      expect(applied.flat().toSorted()).toEqual((await readMigrations()).map(({ name }) => name));
      await createHandledTable(database.pool);
      let isBroken = true;
      const record = handleInto("steps");
      const handler: typeof record = async (message, tx) => {
        await record(message, tx);
        if (isBroken && message.data.key === "key-3") throw new Error("the handler is broken");
      };
      const [first, second] = [await start({}, handler), await start({}, handler)];
      const emitted = Promise.all(
        keys.map((key, index) =>
          emitSteps((index % 2 === 0 ? first : second).dure, key, { to: 40 }),
        ),
      );
      await waitForHandled(database.pool, 100);
      await emitted;
      // Nothing is being written, so every COMMIT is known; relays and consumers are in the middle of theirs.
      await bouncer.ask(`kill ${database.name}`);
      await bouncer.ask(`resume ${database.name}`);
      await waitForHandled(database.pool, 11 * 40);
      const letters = await waitFor(
        async () => {
          const found = await first.dure.deadLetters.list();
          return found.length > 0 && found;
        },
        { what: "the dead letter" },
      );
      expect(letters).toMatchObject([{ key: "key-3" }]);
      isBroken = false;
      await second.dure.deadLetters.redrive({ id: letters[0]?.id ?? "" }, { actor: "test" });
      const rows = await waitForHandled(database.pool, keys.length * 40);
      expect(rows).toHaveLength(keys.length * 40);
      expect(disorderedKeys(rows)).toEqual([]);
      await waitForDrained(first.dure);
      for (const { logs } of [first, second]) {
        // Each loop says it once, and once that it is over.
        expect(logs.filter(({ level }) => level === "warn").length).toBeLessThan(20);
      }
      for (const { dure } of [first, second]) {
        const { order } = await dure.status();
        expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0 });
      }
      const { rows: partitions } = await database.pool.query(
        "select from pg_inherits where inhparent = 'dure.outbox_message'::regclass",
      );
      expect(partitions.length, "maintenance makes the partitions to come").toBeGreaterThan(1);
    },
  );

  it("a relay and a consumer that are killed are replaced, and no transaction of theirs is left open", async () => {
    await createSchema();
    const writer = await start({ relay: false }, async () => {});
    for (const key of keys) await emitSteps(writer.dure, key, { to: 10 });
    await writer.stop();
    for (const point of ["relay.after-publish", "inbox.before-commit"] as const) {
      const plan: ChildPlan = {
        url: bouncer.url,
        relays: true,
        handles: true,
        fault: { point, hit: 2, signal: "SIGKILL" },
      };
      await using child = spawnChild(new URL("../crash/service-child.ts", import.meta.url), {
        env: { DURE_CHILD_PLAN: JSON.stringify(plan) },
        lifeMsMax: 60_000,
      });
      await child.waitForMessage(hasField("hit"));
      await child.waitForExit();
    }
    const heir = await start({ consumer: { pollMsMax: 100 } });
    const rows = await waitForHandled(database.pool, keys.length * 10);
    expect(rows).toHaveLength(keys.length * 10);
    expect(disorderedKeys(rows)).toEqual([]);
    await waitForDrained(heir.dure);
  });

  it("a service finds that NOTIFY does not arrive, says so once, and leaves nobody listening", async () => {
    await createSchema();
    const [writer, reader] = [await start(), await start()];
    for (const service of [writer, reader]) {
      // Once for the outbox, once for the log.
      await waitFor(() => deafness(service).length === 2, { what: "both self-tests" });
    }
    await emitSteps(writer.dure, "k", { to: 20 });
    expect(disorderedKeys(await waitForHandled(database.pool, 20))).toEqual([]);
    expect(await onEachServer("select pg_listening_channels() as channel")).toEqual([]);
    for (const service of [writer, reader]) {
      expect(deafness(service)).toHaveLength(2);
      expect(service.logs.filter(({ level }) => level === "error")).toEqual([]);
    }
  });

  it("a service with a pool for listening that goes past it hears by NOTIFY, long before it would look", async () => {
    await createSchema();
    const slow = { pollMsMin: 30_000, pollMsMax: 30_000 };
    const writer = await start({ relay: false }, async () => {});
    await writer.stop();
    const emitter = createTestService({ pool: createPool(), relay: false });
    await emitter.dure.start();
    started.push(emitter);
    const listener = await start({
      listenPool: createPool(database.url, 2),
      relay: { ...slow, leaseMs: 60_000 },
      consumer: slow,
      groupLeaseMs: 60_000,
    });
    await waitFor(
      () =>
        listener.logs.filter(({ message }) => message === "news arrives by NOTIFY").length === 2,
      { what: "both self-tests" },
    );
    await waitFor(
      async () =>
        (
          await database.pool.query(
            "select from dure.claim where scope = 'outbox' and member_id is not null",
          )
        ).rowCount === 8,
      { what: "the relay's shards" },
    );
    for (let n = 1; n <= 3; n += 1) {
      await emitSteps(emitter.dure, "k", { from: n, to: n });
      await waitForHandled(database.pool, n, { timeoutMs: 10_000 });
    }
  });
});

describe("what others left in the pooler's sessions", () => {
  it("does not disturb the service, and the service leaves nothing there: no setting, lock, statement or channel", async () => {
    await createSchema();
    await onEachServer("set search_path = pg_temp");
    await onEachServer("set lock_timeout = '20s'");
    await onEachServer("set idle_in_transaction_session_timeout = '20s'");
    const settings = () =>
      onEachServer(
        "select name, setting from pg_settings where source = 'session' order by name, pg_backend_pid()",
      );
    const before = await settings();
    const record: ReturnType<typeof handleInto> = async (message, tx) => {
      await tx.query(
        "insert into public.handled (consumer, message_id, key, n) values ('steps', $1, $2, $3)",
        [message.id, message.data.key, message.data.n],
      );
    };
    const [first, second] = [await start({}, record), await start({}, record)];
    await Promise.all(
      keys.map((key, index) => emitSteps((index % 2 === 0 ? first : second).dure, key, { to: 20 })),
    );
    const rows = await waitForHandled(database.pool, keys.length * 20);
    await waitForDrained(first.dure);
    expect(rows).toHaveLength(keys.length * 20);
    expect(disorderedKeys(rows)).toEqual([]);
    expect((await logMessages(database.pool)).length).toBe(keys.length * 20);
    for (const { dure } of [first, second]) {
      const { order } = await dure.status();
      expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, unverified: 0 });
    }
    await first.stop();
    await second.stop();
    expect(await settings()).toEqual(before);
    expect(await onEachServer("select name from pg_prepared_statements")).toEqual([]);
    const { rows: locks } = await database.pool.query(
      "select * from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
    );
    expect(locks).toEqual([]);
  });
});
