/** The writers of the stress run find the mistakes that they are there for: relays that trust ids or snapshots lose events under them (law O2 b). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type pg from "pg";
import { idCursorOutbox } from "../naive/id-cursor.ts";
import type { OutboxDesign } from "../naive/outbox-design.ts";
import { snapshotGapsOutbox } from "../naive/snapshot-gaps.ts";
import { xidOrderedOutbox } from "../naive/xid-ordered.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createHostileWriters } from "./hostile-writers.ts";
import { dureOutbox } from "./order-scenarios.ts";
import { createTestService, numbersByKey } from "./service-fixture.ts";

/** A round is a third of the suite's stress run. */
const eventsPerRound = 1_300;
const roundsMax = 20;
/** Longer than those of the stress run, so that the first loss comes soon, also beside other users of the server. */
const pauseMsMax = 60;

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ name: "naive_stress" });
});
afterEach(() => database[Symbol.asyncDispose]());

interface Found {
  readonly committed: number;
  readonly lost: number;
  /** Events that came behind a later one of their key. */
  readonly disordered: number;
}

/** Rounds of writing with the relay at work, until something is found wrong; one round of Dure, which relays by itself. */
async function stress(
  createDesign: (pool: pg.Pool) => Promise<OutboxDesign>,
  { isDure = false } = {},
): Promise<Found> {
  const rounds = isDure ? 1 : roundsMax;
  const { pool, url } = database;
  const design = await createDesign(pool);
  const seed = Number(process.hrtime.bigint() % 1_000_000n);
  const writers = await createHostileWriters(pool, { url, design, seed, pauseMsMax });
  let found: Found = { committed: 0, lost: 0, disordered: 0 };
  for (let round = 0; round < rounds && found.lost + found.disordered === 0; round += 1) {
    let isWriting = true;
    const writing = writers.write(eventsPerRound).finally(() => (isWriting = false));
    while (isWriting && !isDure) await design.settle();
    await writing;
    // Nobody writes any more: what is not found now is lost. Some wait for the rest of the server's transactions.
    await noOtherWriter(pool);
    await design.settle();
    found = await look(pool, design);
  }
  return found;
}

/** Resolves when every transaction that had an id at the call is over, whichever database it is in. */
async function noOtherWriter(pool: pg.Pool): Promise<void> {
  const { rows } = await pool.query<{ next: string }>(
    "select pg_snapshot_xmax(pg_current_snapshot())::text as next",
  );
  const isOver = async () => {
    const { rows: now } = await pool.query<{ is_over: boolean }>(
      "select pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8 as is_over",
      [rows[0]?.next],
    );
    return now[0]?.is_over === true;
  };
  await waitFor(isOver, { what: "the end of the server's open transactions", timeoutMs: 30_000 });
}

async function look(pool: pg.Pool, design: OutboxDesign): Promise<Found> {
  const { rows } = await pool.query<{ key: string; n: number }>("select key, n from counter");
  const committed = rows.reduce((sum, { n }) => sum + n, 0);
  const sent = numbersByKey(await design.sent());
  let [arrived, disordered] = [0, 0];
  for (const numbers of Object.values(sent)) {
    arrived += new Set(numbers).size;
    disordered += numbers.filter((n, index) => n < (numbers[index - 1] ?? 0)).length;
  }
  return { committed, lost: committed - arrived, disordered };
}

describe("under the writers of the stress run", () => {
  it("closing gaps by snapshots loses events", async () => {
    expect((await stress(snapshotGapsOutbox)).lost).toBeGreaterThan(0);
  }, 120_000);

  it("a cursor on the id loses events", async () => {
    expect((await stress(idCursorOutbox)).lost).toBeGreaterThan(0);
  }, 120_000);

  it("an order of transaction ids turns keys round", async () => {
    const found = await stress(xidOrderedOutbox);
    expect(found).toMatchObject({ lost: 0 });
    expect(found.disordered).toBeGreaterThan(0);
  }, 120_000);

  it("Dure does neither, looked at in the same way", async () => {
    await using service = createTestService({ pool: database.pool });
    await service.dure.start();
    const found = await stress((pool) => Promise.resolve(dureOutbox(service, pool)), {
      isDure: true,
    });
    expect(found).toMatchObject({ lost: 0, disordered: 0 });
    expect(found.committed).toBeGreaterThanOrEqual(eventsPerRound);
  }, 60_000);
});
