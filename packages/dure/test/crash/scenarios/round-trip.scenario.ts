/** Outbox, relay, event log, consumer and inbox in one process: events of two keys, handled once each and in order. */
import pg from "pg";
import { migrate } from "../../../src/postgres/index.ts";
import type { Invariant, Scene } from "../../../src/explorer/index.ts";
import {
  createHandledTable,
  createTestService,
  disorderedKeys,
  handled,
  handleInto,
  logMessages,
  stepTaken,
  waitForHandled,
} from "../../integration/service-fixture.ts";

const keys = ["a", "b"];
const perKey = 3;

export async function prepare({ databaseUrl }: Scene): Promise<void> {
  await using pool = openPool(databaseUrl);
  await migrate({ pool });
  await createHandledTable(pool);
  await pool.query("create table step (key text, n int, primary key (key, n))");
}

export async function scenario(scene: Scene): Promise<void> {
  await emitAndHandle(scene);
}

/** The next process of the service, and the client that asks again for what it has no answer to. */
export async function recover(scene: Scene): Promise<void> {
  await emitAndHandle(scene);
}

export async function observe({ databaseUrl }: Scene): Promise<unknown> {
  await using pool = openPool(databaseUrl);
  const rows = await handled(pool, "steps");
  const { rows: steps } = await pool.query("select key, n from step order by key, n");
  return { steps, handled: rows.map(({ key, n }) => `${key}${n}`).toSorted() };
}

const keysKeepTheirOrder: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  return disorderedKeys(await handled(pool, "steps"));
};

/** Copies are allowed on the wire; another event of the same step is not. */
const nothingIsWrittenTwice: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const messages = Map.groupBy(await logMessages(pool), ({ data }) => JSON.stringify(data));
  return [...messages].flatMap(([data, copies]) =>
    new Set(copies.map(({ id }) => id)).size === 1 ? [] : [`${data} was emitted twice`],
  );
};

const nothingIsParked: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query<{ id: string }>(
    "select message_id as id from dure.parked_message",
  );
  return rows.map(({ id }) => `message ${id} is parked`);
};

export const invariants: Readonly<Record<string, Invariant>> = {
  keysKeepTheirOrder,
  nothingIsParked,
  nothingIsWrittenTwice,
};

async function emitAndHandle({ databaseUrl, explorerPool }: Scene): Promise<void> {
  await using plain = openPool(databaseUrl);
  await using service = createTestService({
    pool: explorerPool(plain),
    relay: { leaseMs: 1_000, pollMsMax: 50 },
    consumer: { pollMsMax: 50 },
  });
  const { dure } = service;
  dure.on(stepTaken, {}, handleInto("steps"));
  await dure.start();
  for (let n = 1; n <= perKey; n += 1) {
    for (const key of keys) {
      await dure.transaction(async (tx) => {
        const insert = "insert into step (key, n) values ($1, $2) on conflict do nothing";
        const { rowCount } = await tx.query(insert, [key, n]);
        if (rowCount === 1) tx.emit(stepTaken, { key, n });
      });
    }
  }
  // Past the explorer: how often this looks is no part of the scenario.
  await waitForHandled(plain, keys.length * perKey);
}

function openPool(connectionString: string): pg.Pool & AsyncDisposable {
  const pool = new pg.Pool({ connectionString, max: 20 });
  pool.on("error", () => {});
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}
