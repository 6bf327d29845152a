import { randomUUID } from "node:crypto";
import pg from "pg";
import { waitFor, within } from "./wait-for.ts";

/** Names the advisory lock under which one process of the run makes the template. */
const TEMPLATE_LOCK = 4_729_113;
const GOODBYE_MS = 3_000;

/** How a database for a test is made. */
export interface TestDatabaseOptions {
  /** Whether the library's schema `dure` is there. @defaultValue true */
  readonly migrate?: boolean;
  /** Part of the database's name, for people who look at the server. */
  readonly name?: string;
  /** Connections of the pool at most. @defaultValue 10 */
  readonly poolSizeMax?: number;
}

/** A database of its own for a test file. */
export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  readonly pool: pg.Pool;
  /** Ends the pool, drops the database, and fails if the test left connections or slots behind. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Clones the run's template (or an empty database), which takes some tens of milliseconds. */
export async function createTestDatabase({
  migrate = true,
  name = "file",
  poolSizeMax = 10,
}: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const label = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .slice(0, 24);
  const database = `${prefix()}${label}_${randomUUID().slice(0, 8)}`;
  await asAdmin(async (admin) => {
    const template = migrate ? await ensureTemplate(admin) : "template0";
    await admin.query(`create database ${quote(database)} template ${quote(template)}`);
  });
  const url = urlOf(database);
  const pool = new pg.Pool({
    connectionString: url,
    max: poolSizeMax,
    application_name: `test ${label}`,
  });
  pool.on("error", () => {}); // tests cut connections on purpose; a query on one still fails
  return {
    name: database,
    url,
    pool,
    [Symbol.asyncDispose]: () => dispose(database, pool),
  };
}

/** Removes what this run left on a server that lives on. */
export async function dropDatabasesOfRun(): Promise<void> {
  await asAdmin(async (admin) => {
    const { rows } = await admin.query<{ datname: string }>(
      "select datname from pg_database where starts_with(datname, $1)",
      [prefix()],
    );
    for (const { datname } of rows) {
      await admin.query(`drop database if exists ${quote(datname)} with (force)`);
    }
  });
}

async function dispose(database: string, pool: pg.Pool): Promise<void> {
  const leaks: string[] = [];
  const ended = pool.end();
  await within(ended, { what: "the pool's end", timeoutMs: GOODBYE_MS }).catch(() => {
    leaks.push(`${pool.totalCount} clients of the pool were not released`);
  });
  await asAdmin(async (admin) => {
    const sessions = async () => {
      const { rows } = await admin.query<{ pid: number; session: string }>(
        `select pid, concat_ws(' ', pid, application_name, state, left(query, 200)) as session
         from pg_stat_activity where datname = $1 and backend_type in ('client backend', 'walsender')`,
        [database],
      );
      return rows.map(({ session }) => session);
    };
    // A server process outlives its client's goodbye by a moment.
    await waitFor(async () => (await sessions()).length === 0, {
      what: "the sessions' end",
      timeoutMs: GOODBYE_MS,
    }).catch(async () => {
      leaks.push(...(await sessions()).map((session) => `session: ${session}`));
    });
    await admin.query(
      "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1",
      [database],
    );
    const { rows: slots } = await admin.query<{ slot: string }>(
      "select slot_name as slot from pg_replication_slots where database = $1",
      [database],
    );
    for (const { slot } of slots) {
      leaks.push(`replication slot: ${slot}`);
      await admin.query("select pg_drop_replication_slot($1)", [slot]);
    }
    await admin.query(`drop database ${quote(database)} with (force)`);
  });
  if (leaks.length > 0) throw new Error(`${database} was left with leaks:\n${leaks.join("\n")}`);
}

async function ensureTemplate(admin: pg.Client): Promise<string> {
  const template = `${prefix()}template`;
  // The lock ends with this session at the latest, so a test process that dies here blocks nobody.
  await admin.query("select pg_advisory_lock($1)", [TEMPLATE_LOCK]);
  try {
    const { rowCount } = await admin.query("select from pg_database where datname = $1", [
      template,
    ]);
    if (rowCount !== 0) return template;
    // Renamed when complete, so a template of that name is never half migrated.
    const draft = `${template}_draft`;
    await admin.query(`drop database if exists ${quote(draft)} with (force)`);
    await admin.query(`create database ${quote(draft)} template template0`);
    const pool = new pg.Pool({ connectionString: urlOf(draft), max: 2 });
    try {
      const { migrate } = await import("../../src/postgres/index.ts");
      await migrate({ pool });
    } finally {
      await pool.end();
    }
    await admin.query(`alter database ${quote(draft)} rename to ${quote(template)}`);
    return template;
  } finally {
    await admin.query("select pg_advisory_unlock($1)", [TEMPLATE_LOCK]);
  }
}

async function asAdmin(work: (admin: pg.Client) => Promise<void>): Promise<void> {
  const admin = new pg.Client({ connectionString: serverUrl(), application_name: "test admin" });
  await admin.connect();
  try {
    await work(admin);
  } finally {
    await admin.end();
  }
}

function serverUrl(): string {
  const url = process.env["DURE_TEST_POSTGRES_URL"];
  if (url === undefined) {
    throw new Error(
      "DURE_TEST_POSTGRES_URL is not set: run by vitest's projects integration or crash",
    );
  }
  return url;
}

function urlOf(database: string): string {
  const url = new URL(serverUrl());
  url.pathname = `/${database}`;
  return url.href;
}

function prefix(): string {
  return `dure_test_${process.env["DURE_TEST_RUN_ID"] ?? "manual"}_`;
}

function quote(identifier: string): string {
  return pg.escapeIdentifier(identifier);
}
