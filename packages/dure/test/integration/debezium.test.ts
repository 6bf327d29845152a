/** Whoever swaps our relay for Debezium: the real engine reads the outbox's columns by the configuration that the guide gives. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, it } from "vitest";
import { fetchJavaLibraries, javaIsMissing } from "../../../../tools/servers/maven.ts";
import { leaveOut } from "../support/leave-out.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import { createTestService, emitSteps } from "./service-fixture.ts";

const folder = new URL("../debezium/", import.meta.url);
const guide = new URL("../../../../docs/guides/relay-by-the-log.md", import.meta.url);
const slot = "debezium_test";

interface DebeziumRecord {
  readonly topic: string;
  readonly headers: string;
  readonly key: string;
  readonly value: string;
}

let database: TestDatabase;
let work: string;
let engine: ChildProcess | undefined;

beforeEach(async () => {
  database = await createTestDatabase({ name: "debezium" });
  work = await mkdtemp(join(tmpdir(), "dure-debezium-"));
});
afterEach(async () => {
  if (engine !== undefined && engine.exitCode === null) {
    const { promise, resolve } = Promise.withResolvers<void>();
    engine.once("close", () => resolve());
    engine.kill("SIGKILL");
    await promise;
  }
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

/** The lines that the guide tells people to configure. */
async function guideProperties(): Promise<string> {
  const [, properties] = /```properties\n([\s\S]*?)```/.exec(await readFile(guide, "utf8")) ?? [];
  if (properties === undefined) throw new Error("the guide has no properties");
  return properties;
}

async function startEngine(libraries: string): Promise<DebeziumRecord[]> {
  const { hostname, port, username, password } = new URL(database.url);
  const properties = `
name=dure
connector.class=io.debezium.connector.postgresql.PostgresConnector
plugin.name=pgoutput
slot.name=${slot}
publication.autocreate.mode=disabled
snapshot.mode=no_data
topic.prefix=test
database.hostname=${hostname}
database.port=${port}
database.user=${username}
database.password=${decodeURIComponent(password)}
database.dbname=${database.name}
offset.storage=org.apache.kafka.connect.storage.FileOffsetBackingStore
offset.storage.file.filename=${join(work, "offsets")}
offset.flush.interval.ms=1000
${await guideProperties()}`;
  const source = new URL("DebeziumReader.java", folder).pathname;
  engine = spawn("java", ["-Xmx256m", "-cp", `${libraries}/*`, source], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const { stdin, stdout } = engine;
  if (stdin === null || stdout === null) throw new Error("the engine has no pipes");
  stdin.write(`${properties}\0`);
  const records: DebeziumRecord[] = [];
  createInterface({ input: stdout }).on("line", (line) => {
    const [topic = "", headers = "", key = "", value = ""] = line.split("\t");
    records.push({ topic, headers, key, value });
  });
  return records;
}

it("gets each event with its id, topic, key and data, in the order of its key", async (context) => {
  const libraries = {
    name: "debezium/3.6.1.Final",
    pom: await readFile(new URL("pom.xml", folder), "utf8"),
  };
  const missing = await javaIsMissing(libraries);
  if (missing !== undefined) leaveOut(context, missing);
  await database.pool.query("select dure.outbox_wal_publish()");
  const records = await startEngine(await fetchJavaLibraries(libraries));
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
