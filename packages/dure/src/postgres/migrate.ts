import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { DureError, describeError } from "../core/errors.ts";
import { checkSchemaName, quoteIdentifier, takeClient } from "./pool.ts";
import type { PostgresClient, PostgresPool } from "./pool.ts";
import { sqlStateOf } from "./sqlstate.ts";

/** What {@link migrate} takes. */
export interface MigrateOptions {
  readonly pool: PostgresPool;
  /** The schema that holds the library's tables. @defaultValue "dure" */
  readonly schema?: string;
}

/** One file of `sql/`. */
export interface Migration {
  readonly number: number;
  readonly name: string;
  readonly text: string;
  readonly checksum: string;
  /** Older versions of the library cannot work with the schema after it. */
  readonly isBreaking: boolean;
}

const directory = new URL("../../sql/", import.meta.url);

/** The migrations of this version of the library, in order. */
export async function readMigrations(): Promise<readonly Migration[]> {
  const names = (await readdir(directory)).filter((name) => /^\d{4}_[a-z0-9_]+\.sql$/.test(name));
  return Promise.all(
    names.sort().map(async (name) => {
      const text = await readFile(new URL(name, directory), "utf8");
      return {
        number: Number(name.slice(0, 4)),
        name,
        text,
        checksum: createHash("sha256").update(text).digest("hex"),
        isBreaking: text.startsWith("--! breaking"),
      };
    }),
  );
}

/**
 * Brings the schema up to this version: forward only, one transaction per file. Many may run it at once:
 * each file is applied once, the others wait. If the process dies in the middle, the file it was at has
 * left nothing behind and the next run goes on there.
 *
 * @returns the names of the files that this call applied
 * @throws MIGRATION_CHANGED when a file that was applied is not the one of this version
 * @throws SCHEMA_TOO_NEW when a newer version made a change that this one cannot work with
 * @throws MIGRATION_FAILED when a file cannot be applied
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  const schema = checkSchemaName(options.schema ?? "dure");
  const migrations = await readMigrations();
  const { client, release } = await takeClient(options.pool);
  const applied: string[] = [];
  try {
    // First, so that nothing is put on top of a schema that is not ours; and so that where nothing is to be
    // done, no right to make schemas is needed.
    const found = await checkApplied(client, schema, migrations);
    for (const migration of migrations.filter(({ number }) => !found.has(number))) {
      if (await applyOnce(client, schema, migration)) applied.push(migration.name);
    }
    await checkApplied(client, schema, migrations);
  } finally {
    release();
  }
  return applied;
}

/**
 * Refuses a schema that this version cannot work with.
 * @throws SCHEMA_MISSING when a migration has not been applied
 * @throws SCHEMA_TOO_NEW when a newer version made a breaking change
 * @throws MIGRATION_CHANGED when an applied file differs
 * @throws CONFIGURATION_INVALID when statements outside transactions do not run at READ COMMITTED
 */
export async function checkSchema(options: MigrateOptions): Promise<void> {
  const schema = checkSchemaName(options.schema ?? "dure");
  const migrations = await readMigrations();
  const { client, release } = await takeClient(options.pool);
  try {
    const found = await checkApplied(client, schema, migrations);
    const missing = migrations.filter((migration) => !found.has(migration.number));
    if (missing.length > 0) {
      throw new DureError(
        "SCHEMA_MISSING",
        `schema "${schema}" lacks ${missing.map((migration) => migration.name).join(", ")}; run "dure migrate --schema ${schema}"`,
      );
    }
    await checkIsolation(client);
  } finally {
    release();
  }
}

/**
 * A function that waits for a lock and then looks sees nothing of what it waited for at a higher level: a
 * relay that was taken over would find its old epoch still good.
 */
async function checkIsolation(client: PostgresClient): Promise<void> {
  const { rows } = await client.query("select current_setting('transaction_isolation') as level");
  const level = String(rows[0]?.["level"]);
  if (level === "read committed") return;
  throw new DureError(
    "CONFIGURATION_INVALID",
    `default_transaction_isolation is "${level}" for this role or database: dure's own statements need "read committed" (alter role … set default_transaction_isolation = 'read committed'); your transactions may begin at any level`,
  );
}

/** All migrations as one script for psql (`psql -v schema=dure -f -`) or another migration tool. */
export async function printMigrations(): Promise<string> {
  const migrations = await readMigrations();
  const parts = migrations.map(
    (migration) =>
      `-- ${migration.name}\nbegin;\n${migration.text.trim()}\n${recordText(migration)}\ncommit;\n`,
  );
  return `create schema if not exists :"schema";\n${migrationTable(':"schema"')};\n\n${parts.join("\n")}`;
}

function recordText(migration: Migration): string {
  return `insert into :"schema".migration (number, name, checksum, is_breaking) values (${migration.number}, '${migration.name}', '${migration.checksum}', ${String(migration.isBreaking)});`;
}

function migrationTable(schema: string): string {
  return `create table if not exists ${schema}.migration (
  number integer primary key,
  name text not null,
  checksum text not null,
  is_breaking boolean not null,
  applied_at timestamptz not null default clock_timestamp()
)`;
}

/** Applies one file unless somebody did. The lock of the transaction makes concurrent migrators take turns. */
async function applyOnce(
  client: PostgresClient,
  schema: string,
  migration: Migration,
): Promise<boolean> {
  const quoted = quoteIdentifier(schema);
  try {
    await client.query("begin");
    await client.query("select pg_advisory_xact_lock(hashtextextended('dure.migrate:' || $1, 0))", [
      schema,
    ]);
    // Reading a table makes the session hear of what was committed while it waited; the advisory lock alone
    // does not, and "if not exists" would go by an old memory that there is no such schema (23505).
    await client.query("select from pg_catalog.pg_namespace limit 1");
    await client.query(`create schema if not exists ${quoted}`);
    await client.query(migrationTable(quoted));
    const { rows } = await client.query(
      `insert into ${quoted}.migration (number, name, checksum, is_breaking)
       values ($1, $2, $3, $4) on conflict do nothing returning number`,
      [migration.number, migration.name, migration.checksum, migration.isBreaking],
    );
    if (rows.length > 0) await client.query(migration.text.replaceAll(':"schema"', quoted));
    const { command } = await client.query("commit");
    if (command === "ROLLBACK") throw new Error("COMMIT answered ROLLBACK");
    return rows.length > 0;
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw new DureError(
      "MIGRATION_FAILED",
      `${migration.name} could not be applied to schema "${schema}" (SQLSTATE ${sqlStateOf(error) ?? "none"}): ${describeError(error)}. Nothing of it was kept; mend the cause and run "dure migrate" again`,
      { cause: error },
    );
  }
}

async function checkApplied(
  client: PostgresClient,
  schema: string,
  migrations: readonly Migration[],
): Promise<ReadonlySet<number>> {
  const known = new Map(migrations.map((migration) => [migration.number, migration]));
  const rows = await appliedRows(client, schema);
  for (const row of rows) {
    const ours = known.get(row.number);
    if (ours === undefined && row.isBreaking) {
      throw new DureError(
        "SCHEMA_TOO_NEW",
        `schema "${schema}" was changed by ${row.name} of a newer version of dure, with which this version cannot work: upgrade dure in this service`,
      );
    }
    if (ours !== undefined && ours.checksum !== row.checksum) {
      throw new DureError(
        "MIGRATION_CHANGED",
        `${row.name} of schema "${schema}" is not the file of this version (checksum ${row.checksum.slice(0, 12)}, here ${ours.checksum.slice(0, 12)}): a released migration never changes, so one of the two was edited`,
      );
    }
  }
  return new Set(rows.map((row) => row.number));
}

interface AppliedRow {
  readonly number: number;
  readonly name: string;
  readonly checksum: string;
  readonly isBreaking: boolean;
}

async function appliedRows(client: PostgresClient, schema: string): Promise<readonly AppliedRow[]> {
  try {
    const { rows } = await client.query(
      `select number, name, checksum, is_breaking as "isBreaking" from ${quoteIdentifier(schema)}.migration order by number`,
    );
    return rows as unknown as readonly AppliedRow[];
  } catch (error) {
    // 42P01 undefined_table, 3F000 invalid_schema_name: nothing was ever applied.
    if (["42P01", "3F000"].includes(sqlStateOf(error) ?? "")) return [];
    throw error;
  }
}
