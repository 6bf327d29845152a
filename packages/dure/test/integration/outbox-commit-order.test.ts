/** Whatever the order of ids, positions and commits, Dure sends every event and each key in the order of its commits; designs that popular systems ship do not (law O2 a, b, c, g). */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { cachedSequenceOutbox } from "../naive/cached-sequence.ts";
import { createdAtOutbox } from "../naive/created-at-order.ts";
import { idCursorOutbox } from "../naive/id-cursor.ts";
import type { OutboxDesign } from "../naive/outbox-design.ts";
import { type SnapshotGapsOutbox, snapshotGapsOutbox } from "../naive/snapshot-gaps.ts";
import { xidOrderedOutbox } from "../naive/xid-ordered.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { holdsFor, waitFor } from "../support/wait-for.ts";
import {
  commitSteps,
  dureOutbox,
  firstIdCommitsLast,
  keysOfOneShard,
  lateCommitter,
  sentOf,
  sequenceSetBack,
  steps,
  strangerStaysOpen,
  twoSessionsInTurn,
} from "./order-scenarios.ts";
import {
  createHandledDatabase,
  createTestService,
  disorderedKeys,
  handled,
  handleInto,
  stepTaken,
  type TestService,
  waitForDrained,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
let service: TestService;
let dure: OutboxDesign;
let xidOrdered: OutboxDesign;
let idCursor: OutboxDesign;
let snapshotGaps: SnapshotGapsOutbox;

// Some of the naive designs wait for every transaction of the server, those of other test files too.
vi.setConfig({ testTimeout: 60_000 });

beforeAll(async () => {
  database = await createHandledDatabase("commit_order");
  service = createTestService({ pool: database.pool });
  service.dure.on(stepTaken, {}, handleInto("steps"));
  await service.dure.start();
  dure = dureOutbox(service, database.pool);
  xidOrdered = await xidOrderedOutbox(database.pool);
  idCursor = await idCursorOutbox(database.pool);
  snapshotGaps = await snapshotGapsOutbox(database.pool);
});
afterAll(async () => {
  await service.stop();
  await database[Symbol.asyncDispose]();
});

/** Whether any shard waits for a position. */
async function hasGaps(): Promise<boolean> {
  const { rows } = await database.pool.query<{ open: boolean }>(
    `select bool_or(done <> '{}') as open from (
       select distinct on (shard) done from dure.outbox_cursor order by shard, epoch desc, n desc
     ) newest`,
  );
  return rows[0]?.open === true;
}

describe("when the first to take its transaction id is the last to commit (a)", () => {
  it("Dure sends the key in the order of commits", async () => {
    expect(await firstIdCommitsLast(database.pool, dure, "xid-first")).toEqual([1, 2]);
  });

  it("an outbox ordered by transaction id turns the key round", async () => {
    expect(await firstIdCommitsLast(database.pool, xidOrdered, "xid-first")).toEqual([2, 1]);
  });

  it("an outbox ordered by its rows' time of creation turns the key round", async () => {
    const createdAt = await createdAtOutbox(database.pool);
    expect(await firstIdCommitsLast(database.pool, createdAt, "xid-first")).toEqual([2, 1]);
  });
});

describe("when two sessions emit for a key in turn", () => {
  it("Dure sends the key in the order of commits", async () => {
    expect(await twoSessionsInTurn(database.pool, dure, "in-turn")).toEqual([1, 2]);
  });

  it("positions that each session has cached turn the key round", async () => {
    const cached = await cachedSequenceOutbox(database.pool);
    expect(await twoSessionsInTurn(database.pool, cached, "in-turn")).toEqual([2, 1]);
  });
});

describe("when a position is drawn first and committed last (b)", () => {
  it("Dure leaves its gap open while its writer lives, holds up nobody else, and sends it", async () => {
    expect(await lateCommitter(database.pool, dure, { prefix: "late-" })).toEqual({
      late: [1],
      other: [1, 2, 3, 4],
    });
    await waitFor(async () => !(await hasGaps()), { what: "the closing of all gaps" });
  });

  it("a cursor on the id loses it", async () => {
    expect(await lateCommitter(database.pool, idCursor, { prefix: "late-" })).toEqual({
      late: [],
      other: [1, 2, 3, 4],
    });
  });

  it("closing gaps by snapshots loses it: its writer had no transaction id when it drew the position", async () => {
    const look = () =>
      waitFor(
        async () => {
          await snapshotGaps.settle();
          return snapshotGaps.gapCount() === 0;
        },
        { what: "its closing of the gap", timeoutMs: 25_000 },
      );
    expect(await lateCommitter(database.pool, snapshotGaps, { prefix: "late-", look })).toEqual({
      late: [],
      other: [1, 2, 3, 4],
    });
  });
});

describe("while a transaction that has written stays open in another database of the server (c)", () => {
  it("Dure sends everything, and closes the gap of what was rolled back", async () => {
    const look = async (): Promise<void> => {
      await dure.settle();
      await waitFor(async () => !(await hasGaps()), { what: "the closing of the gap" });
    };
    expect(await strangerStaysOpen(database.pool, dure, "beside", look)).toEqual({
      meanwhile: [1, 2, 3, 4, 5],
      inTheEnd: [1, 2, 3, 4, 5],
    });
  });

  it("an outbox with a watermark of transaction ids sends nothing at all", async () => {
    expect(await strangerStaysOpen(database.pool, xidOrdered, "beside")).toEqual({
      meanwhile: [],
      inTheEnd: [1, 2, 3, 4, 5],
    });
  });
});

describe("when the sequence of positions is set back (g)", () => {
  it("Dure says so once and stops the shard, others go on, and a rebase loses nothing", async () => {
    const [key = ""] = await keysOfOneShard(database.pool, "set-back-", 1);
    const scenario = { key, sequence: "dure.outbox_position_0" };
    expect(await sequenceSetBack(database.pool, dure, scenario)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const alerts = () =>
      service.logs.filter(({ message }) => message.includes("OUTBOX_SEQUENCE_SET_BACK"));
    await waitFor(() => alerts().length > 0, { what: "the alert" });
    const others = ["o1", "o2", "o3", "o4"];
    await commitSteps(
      database.pool,
      dure,
      others.map((other) => ({ key: other, n: 1 })),
    );
    const { rows } = await database.pool.query<{ key: string }>(
      `select key from unnest($1::text[]) key
       where (hashtextextended('step' || chr(31) || key, 0) & 9223372036854775807) % 8 <> 0`,
      [others],
    );
    expect(rows.length).toBeGreaterThan(0);
    for (const { key: other } of rows) {
      await waitFor(async () => (await sentOf(dure, other)).length === 1, {
        what: `an event of ${other}`,
      });
    }
    await holdsFor(async () => (await sentOf(dure, key)).length === 8, {
      what: "silence of the shard",
      forMs: 300,
    });
    expect(alerts()).toMatchObject([{ level: "error", facts: { shard: 0 } }]);
    await database.pool.query("select dure.outbox_rebase(0::smallint)");
    await commitSteps(database.pool, dure, steps(key, 11, 12));
    await waitFor(async () => (await sentOf(dure, key)).length === 12, { what: "all twelve" });
    expect(await sentOf(dure, key)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it("a cursor on the id never sends again until the sequence has caught up, and nothing says so", async () => {
    const sequence = "id_cursor_id_seq";
    const { rows } = await database.pool.query<{ last: string }>(
      "select last_value::text as last from id_cursor_id_seq",
    );
    expect(await sequenceSetBack(database.pool, idCursor, { key: "set-back", sequence })).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8,
    ]);
    const { rows: hidden } = await database.pool.query(
      "select n from id_cursor where key = 'set-back' and n > 8 and id <= $1::bigint + 8",
      [rows[0]?.last],
    );
    expect(hidden).toEqual([{ n: 9 }, { n: 10 }]);
  });
});

describe("the consumer of all that Dure sent here", () => {
  it("verified the order of every key: no gap, no reorder, no double", async () => {
    await waitForDrained(service.dure);
    const total = (await dure.sent()).length;
    const rows = await waitForHandled(database.pool, total);
    expect(disorderedKeys(rows)).toEqual([]);
    expect(await handled(database.pool)).toHaveLength(total);
    const { order } = await service.dure.status();
    expect(order["steps"]).toMatchObject({ gaps: 0, reorders: 0, duplicates: 0, unverified: 0 });
  });
});
