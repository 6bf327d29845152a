/** A choreographed flow that turns back is followed from its events, and its first wait is said to take too long. */
import pg from "pg";
import { migrate } from "../../../src/postgres/index.ts";
import type { Invariant, Scene } from "../../../src/explorer/index.ts";
import { createTestService } from "../../integration/service-fixture.ts";
import { checkoutWithin, facts } from "../../support/flows.ts";
import { waitFor, within } from "../../support/wait-for.ts";

const sagaId = "F-1";
const flow = checkoutWithin({ payment: 30 });
const turned = [facts.released, facts.paid, facts.refused, facts.refunded];

export async function prepare({ databaseUrl }: Scene): Promise<void> {
  await using pool = openPool(databaseUrl);
  await migrate({ pool });
  await pool.query("create table told (type text primary key)");
}

export async function scenario(scene: Scene): Promise<void> {
  await tellAndFollow(scene);
}

/** The next process, which tells what is not told. */
export async function recover(scene: Scene): Promise<void> {
  await tellAndFollow(scene);
}

export async function observe({ databaseUrl }: Scene): Promise<unknown> {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query(
    `select status, ended_at is not null as is_ended, business_key,
      (select count(*)::int from dure.saga_live) as live,
      (select count(*)::int from dure.flow_wait) as waits,
      (select count(*)::int from dure.flow_early) as early,
      (select array_agg(step order by step) from dure.saga_event where type = 'heard') as heard
     from dure.saga_instance`,
  );
  return rows;
}

const entriesHaveNoGaps: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query<{ entry: string }>(
    `select max(n) || ' of ' || count(*) as entry from dure.saga_journal having max(n) <> count(*)`,
  );
  return rows.map(({ entry }) => `the journal has gaps: ${entry}`);
};

/** The note, the journal's entry and the event stand or fall together. */
const overdueIsSaidOnce: Invariant = async ({ databaseUrl }) => {
  await using pool = openPool(databaseUrl);
  const { rows } = await pool.query<{ noted: number; again: number; said: number }>(
    `select count(distinct n)::int as noted, (count(*) - count(distinct step))::int as again,
      (select count(*)::int from dure.outbox_message where type = 'alert.flow-overdue') as said
     from dure.saga_event where type = 'overdue'`,
  );
  return rows
    .filter(({ noted, again, said }) => noted !== said || again > 0)
    .map(({ noted, again, said }) => `noted ${noted}, said ${said}, again ${again} times`);
};

export const invariants: Readonly<Record<string, Invariant>> = {
  entriesHaveNoGaps,
  overdueIsSaidOnce,
};

async function tellAndFollow({ databaseUrl, explorerPool }: Scene): Promise<void> {
  await using plain = openPool(databaseUrl);
  await using service = createTestService({
    pool: explorerPool(plain),
    service: "order",
    sagas: { flows: [flow], flowWatchMs: 50 },
    relay: { leaseMs: 1_000, pollMsMax: 50 },
    consumer: { pollMsMax: 50 },
  });
  const { dure } = service;
  await dure.start();
  const tell = async (fact: (typeof turned)[number]): Promise<void> =>
    dure.transaction(async (tx) => {
      const insert = "insert into told (type) values ($1) on conflict do nothing";
      const { rowCount } = await tx.query(insert, [fact.type]);
      if (rowCount === 1) tx.emit(fact, { orderId: "o-1", sagaId });
    });
  await tell(facts.created);
  // Past the explorer: how often this looks is no part of the scenario.
  const noted = "select from dure.saga_event where type = 'overdue'";
  await waitFor(async () => (await plain.query(noted)).rowCount, { what: "the overdue wait" });
  for (const fact of turned) await tell(fact);
  await within(ended(plain), { what: "the end" });
}

async function ended(pool: pg.Pool): Promise<unknown> {
  const all = `select from dure.saga_event where type = 'heard' having count(*) = ${turned.length + 1}`;
  return waitFor(async () => (await pool.query(all)).rowCount, { what: "all facts" });
}

function openPool(connectionString: string): pg.Pool & AsyncDisposable {
  const pool = new pg.Pool({ connectionString, max: 20 });
  pool.on("error", () => {});
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}
