/** What people and programs are told of the outbox is true, and cheap however much is done or waits. */
import type pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDure } from "../../src/index.ts";
import { adminSql } from "../../src/postgres/admin-sql.ts";
import { relayAdminSql } from "../../src/postgres/relay-admin-sql.ts";
import { postgresStore } from "../../src/postgres/index.ts";
import type { TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledDatabase,
  createTestService,
  emitSteps,
  handleInto,
  stepTaken,
  waitForDrained,
} from "./service-fixture.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createHandledDatabase("status");
});
afterEach(() => database[Symbol.asyncDispose]());

describe("the state of an event", () => {
  const statusOf = async (key: string) =>
    (
      await database.pool.query<{ state: string; is_told: boolean; is_true: boolean | null }>(
        `select state, published_at is not null as is_told,
           published_at between written_at and clock_timestamp() as is_true
         from dure.outbox_status where key = $1`,
        [key],
      )
    ).rows;

  it("is PENDING while nobody publishes, IN_FLIGHT while a relay has it in hand, and PUBLISHED at a time", async () => {
    const sending = Promise.withResolvers<void>();
    let isHeld = true;
    await using service = createTestService({
      pool: database.pool,
      wrap: (log) => ({
        ...log,
        async publish(messages, options) {
          if (isHeld) await sending.promise;
          return log.publish(messages, options);
        },
      }),
    });
    await emitSteps(service.dure, "k", { to: 1 });
    const waiting = { is_told: false, is_true: null };
    expect(await statusOf("k")).toEqual([{ state: "PENDING", ...waiting }]);
    await service.dure.start();
    await waitFor(async () => (await statusOf("k"))[0]?.state === "IN_FLIGHT", { what: "a relay" });
    expect(await statusOf("k")).toEqual([{ state: "IN_FLIGHT", ...waiting }]);
    await service.dure.relay.pause({ actor: "ada", reason: "r" });
    expect(await statusOf("k")).toEqual([{ state: "PENDING", ...waiting }]);
    await service.dure.relay.resume({ actor: "ada" });
    isHeld = false;
    sending.resolve();
    await waitForDrained(service.dure);
    expect(await statusOf("k")).toEqual([{ state: "PUBLISHED", is_told: true, is_true: true }]);
  });
});

describe("the questions about the backlog", () => {
  it("read nothing that is done: no old partition, and nothing above a gap that stays open", async () => {
    const { pool } = database;
    await pool.query(`
      select dure.partition_create('outbox_message', (now() at time zone 'UTC')::date - d) from generate_series(1, 4) d;
      insert into dure.outbox_message (position, written_at, stream_hash, id, shard, version, link_verified, source, topic, key, type, data)
      select 2 + i / 8, clock_timestamp() - (4 - i / 10000) * interval '1 day', i, gen_random_uuid(), i % 8, 1, true, 's', 't', 'k', 't', '{}'
      from generate_series(0, 49999) i;
      insert into dure.outbox_cursor (shard, epoch, n, low, done)
      select s, 1, 1, case when s < 4 then 0 else 6200 end,
        int8multirange(int8range(case when s < 4 then 2 else 6201 end, 6202)) from generate_series(0, 7) s;
      select setval(('dure.outbox_position_' || s)::regclass, 6251) from generate_series(0, 7) s;
      analyze dure.outbox_message, dure.outbox_cursor`);
    const sql = adminSql('"dure"');
    const { relayStatus } = relayAdminSql('"dure"');
    expect((await pool.query<{ pending: string }>(sql.status)).rows[0]?.pending).toBe("400");
    for (const statement of [sql.status, sql.oldestPending, relayStatus]) {
      const { rows } = await pool.query<{ "QUERY PLAN": readonly { Plan: Plan }[] }>(
        `explain (analyze, format json) ${statement}`,
      );
      const old = flatten(rows[0]?.["QUERY PLAN"][0]?.Plan).filter((node) =>
        /^outbox_message_\d/.test(node["Relation Name"] ?? ""),
      );
      expect(old.length).toBeGreaterThan(0);
      const seen = old.map(
        (node) =>
          node["Actual Loops"] * (node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0)),
      );
      // 50 of each shard wait; nothing else of 50,000 is looked at.
      expect(seen.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(450);
    }
  });

  interface Plan {
    readonly "Node Type": string;
    readonly "Relation Name"?: string;
    readonly "Actual Rows": number;
    readonly "Actual Loops": number;
    readonly "Rows Removed by Filter"?: number;
    readonly Plans?: readonly Plan[];
  }
  const flatten = (plan: Plan | undefined): readonly Plan[] =>
    plan === undefined ? [] : [plan, ...(plan.Plans ?? []).flatMap(flatten)];
});

describe("a start", () => {
  it("is refused when a message could come again after its dedup record is gone; it may be started after that is mended", async () => {
    const { pool } = database;
    const make = (inboxMs: number, redriveWindowMs: number) => {
      const beside = createTestService({ pool });
      const store = postgresStore<pg.PoolClient>({ pool, retention: { inboxMs } });
      const dure = createDure<pg.PoolClient>({
        service: "steps",
        store,
        transport: beside.log,
        redriveWindowMs,
      });
      dure.on(stepTaken, {}, handleInto("steps"));
      return { dure, stop: async () => void (await Promise.all([dure.stop(), beside.stop()])) };
    };
    const dayMs = 86_400_000;
    const short = make(14 * dayMs, 7 * dayMs);
    await expect(short.dure.start()).rejects.toMatchObject({ code: "DEDUP_HORIZON_TOO_SHORT" });
    await expect(short.dure.start()).rejects.toMatchObject({ code: "DEDUP_HORIZON_TOO_SHORT" });
    await short.stop();
    const enough = make(14 * dayMs, 6 * dayMs);
    await enough.dure.start();
    await enough.stop();
  });

  it("is refused with a retention that is none", () => {
    const { pool } = database;
    expect(() =>
      postgresStore({ pool, retention: { inboxMs: 1, messageMs: 5 } as object }),
    ).toThrow(/retention\.messageMs: is no option.*retention\.inboxMs: must be/);
  });
});
