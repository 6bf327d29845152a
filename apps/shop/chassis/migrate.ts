import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import type { Pool, PoolClient } from "pg";

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

interface AppliedRow {
  readonly name: string;
  readonly checksum: string;
}

/** One lock for all migrations of a database: nothing else in the shop takes this number. */
const migrationLock = 7_302_164_951;

/**
 * Brings a service's database up to the files `NNNN_name.sql` of a folder, forward only. Each file
 * runs once, in a transaction of its own together with the row that records it, so a process that
 * dies here leaves whole files behind and the next start goes on. Several instances may start at
 * once: they take turns.
 *
 * @returns the names of the files that ran now
 * @throws Error when an applied file has changed or is missing, or a new one sorts before it
 */
export async function migrate(pool: Pool, folder: URL): Promise<readonly string[]> {
  const migrations = await readMigrations(folder);
  const applied: string[] = [];
  for (const migration of migrations) {
    if (await applyOnce(pool, migration, migrations)) applied.push(migration.name);
  }
  return applied;
}

async function readMigrations(folder: URL): Promise<readonly Migration[]> {
  const base = folder.href.endsWith("/") ? folder : new URL(`${folder.href}/`);
  const names = (await readdir(base)).filter((name) => name.endsWith(".sql")).sort();
  return Promise.all(
    names.map(async (name) => {
      if (!/^\d{4}_[a-z0-9_]+\.sql$/.test(name)) throw new Error(`${name} is not NNNN_name.sql`);
      const sql = await readFile(new URL(name, base), "utf8");
      return { name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    }),
  );
}

async function applyOnce(
  pool: Pool,
  migration: Migration,
  all: readonly Migration[],
): Promise<boolean> {
  const client = await pool.connect();
  let failure: unknown;
  try {
    await client.query("begin");
    await client.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    // A migration may rewrite a large table; the pool's limit is for requests.
    await client.query("set local statement_timeout = 0");
    const isNew = !checkHistory(await readApplied(client), migration, all);
    if (isNew) await apply(client, migration);
    await client.query("commit");
    return isNew;
  } catch (error) {
    failure = error;
    await client.query("rollback").catch(() => undefined);
    throw error;
  } finally {
    // A client whose transaction failed in an unknown state does not go back to the pool.
    client.release(failure !== undefined);
  }
}

async function readApplied(client: PoolClient): Promise<readonly AppliedRow[]> {
  // Under the lock, because two `create table if not exists` at once can fail on the catalogue.
  await client.query(
    `create table if not exists migration (
       name text primary key,
       checksum text not null,
       applied_at timestamptz not null default clock_timestamp()
     )`,
  );
  const { rows } = await client.query<AppliedRow>(
    "/* shop:migration.list */ select name, checksum from migration order by name",
  );
  return rows;
}

/** Whether the migration is applied already. */
function checkHistory(
  applied: readonly AppliedRow[],
  migration: Migration,
  all: readonly Migration[],
): boolean {
  for (const row of applied) {
    const file = all.find((each) => each.name === row.name);
    if (file === undefined) throw new Error(`The database has ${row.name}, but the file is gone.`);
    if (file.checksum !== row.checksum)
      throw new Error(`${row.name} changed after it was applied.`);
  }
  if (applied.some((row) => row.name === migration.name)) return true;
  const later = applied.find((row) => row.name > migration.name);
  if (later !== undefined)
    throw new Error(`${migration.name} comes before ${later.name}, applied.`);
  return false;
}

async function apply(client: PoolClient, { name, checksum, sql }: Migration): Promise<void> {
  await client.query("insert into migration (name, checksum) values ($1, $2)", [name, checksum]);
  try {
    await client.query(sql);
  } catch (cause) {
    throw new Error(`Migration ${name} failed: nothing of it was kept.`, { cause });
  }
}
