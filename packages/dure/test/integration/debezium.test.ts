/** Whoever swaps our relay for Debezium: the real engine reads the outbox's columns by the configuration that the guide gives. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { debeziumIsMissing, startDebezium } from "../../../../tools/servers/debezium.ts";
import type { Debezium, DebeziumRecord } from "../../../../tools/servers/debezium.ts";
import { leaveOut } from "../support/leave-out.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createTestService, emitSteps } from "./service-fixture.ts";

const slot = "debezium_test";

let database: TestDatabase;
let work: string;
let engine: Debezium | undefined;

beforeEach(async () => {
  database = await createTestDatabase({ name: "debezium" });
  work = await mkdtemp(join(tmpdir(), "dure-debezium-"));
});
afterEach(async () => {
  await engine?.[Symbol.asyncDispose]();
  engine = undefined;
  const isGone = async () => {
    const query = `select pg_drop_replication_slot(slot_name) from pg_replication_slots
      where slot_name = '${slot}' and active_pid is null`;
    await database.pool.query(query);
    const { rows } = await database.pool.query(
      `select 1 from pg_replication_slots where slot_name = '${slot}'`,
    );
    return rows.length === 0;
  };
  await waitFor(isGone, { what: "the slot's end" });
  await database[Symbol.asyncDispose]();
  await rm(work, { recursive: true, force: true });
});

it("gets each event with its id, topic, key and data, in the order of its key", async (context) => {
  const missing = await debeziumIsMissing();
  if (missing !== undefined) leaveOut(context, missing);
  await database.pool.query("select dure.outbox_wal_publish()");
  const records: DebeziumRecord[] = [];
  engine = await startDebezium({
    databaseUrl: database.url,
    slot,
    workDir: work,
    onRecord: (record) => records.push(record),
  });
  await waitFor(
    async () => {
      const { rows } = await database.pool.query(
        `select 1 from pg_replication_slots where slot_name = '${slot}' and active_pid is not null`,
      );
      return rows.length > 0;
    },
    { what: "Debezium's slot", timeoutMs: 60_000 },
  );
  const service = createTestService({ pool: database.pool, relay: false });
  await service.dure.start();
  const keys = ["a", "b", "c"];
  await Promise.all(keys.map((key) => emitSteps(service.dure, key, { to: 20 })));
  await service.stop();
  await waitFor(() => records.length >= 60, { what: "60 records", timeoutMs: 60_000 });
  const { rows } = await database.pool.query<{ id: string; topic: string; key: string }>(
    "select id::text, topic, key from dure.outbox_message order by position",
  );
  for (const key of keys) {
    const own = records.filter((record) => record.key.includes(`"${key}"`));
    const steps = own.map(({ value }) => /\\"n\\":(\d+)/.exec(value)?.[1]);
    expect(steps).toEqual(Array.from({ length: 20 }, (_, index) => String(index + 1)));
    const ids = rows.filter((row) => row.key === key).map((row) => row.id);
    expect(own.map(({ headers }) => /id=\S*?([0-9a-f-]{36})/.exec(headers)?.[1])).toEqual(ids);
  }
  expect(new Set(records.map(({ topic }) => topic))).toEqual(new Set([rows[0]?.topic]));
}, 180_000);
