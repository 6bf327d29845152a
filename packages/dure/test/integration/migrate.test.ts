/** The schema is brought up once, by whoever comes, whole files at a time, and never by the wrong version. */
import { readFile, writeFile } from "node:fs/promises";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkSchema, migrate, printMigrations, readMigrations } from "../../src/postgres/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  createHandledTable,
  createTestService,
  disorderedKeys,
  emitSteps,
  handleInto,
  stepTaken,
  waitForHandled,
} from "./service-fixture.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ migrate: false, name: "migrate", poolSizeMax: 25 });
});
afterEach(() => database[Symbol.asyncDispose]());

const objectsOf = async (schema: string) =>
  (
    await database.pool.query<{ name: string }>(
      "select relname as name from pg_class where relnamespace = to_regnamespace($1)",
      [schema],
    )
  ).rows.map(({ name }) => name);

describe("checking", () => {
  it("refuses a database where a statement of its own does not see what it waited for", async () => {
    await migrate({ pool: database.pool });
    await database.pool.query(
      `alter database ${pg.escapeIdentifier(database.name)} set default_transaction_isolation = 'repeatable read'`,
    );
    await using pool = Object.assign(new pg.Pool({ connectionString: database.url, max: 1 }), {
      [Symbol.asyncDispose]: () => pool.end(),
    });
    await expect(checkSchema({ pool })).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  });
});

describe("migrating", () => {
  it("applies each file once, however many do it at the same time", async () => {
    const { pool } = database;
    const applied = await Promise.all(Array.from({ length: 20 }, () => migrate({ pool })));
    const names = (await readMigrations()).map(({ name }) => name);
    expect(applied.flat().toSorted()).toEqual(names);
    await checkSchema({ pool });
    expect(await migrate({ pool })).toEqual([]);
  });

  it("goes by what is there after it has waited, not by what it saw before", async () => {
    const { pool } = database;
    const rival = await pool.connect();
    await rival.query(
      "begin; select pg_advisory_xact_lock(hashtextextended('dure.migrate:dure', 0))",
    );
    // One session that has made a schema before: it knows by heart all that it would look up otherwise.
    const warm = new pg.Pool({ connectionString: database.url, max: 1 });
    await warm.query("create schema warm_up");
    await warm.query("drop schema warm_up");
    const migrating = migrate({ pool: warm });
    const isWaiting = async () => {
      const { rows } = await pool.query(
        "select from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())",
      );
      return rows.length > 0;
    };
    await waitFor(isWaiting, { what: "the migrator's wait" });
    await rival.query("create schema dure; commit");
    rival.release();
    expect(await migrating).toHaveLength((await readMigrations()).length);
    await warm.end();
  });

  it("needs no right to make anything where nothing is to be done", async () => {
    const { pool, name } = database;
    await migrate({ pool });
    const role = `reader_${name}`;
    await pool.query(
      `create role ${role}; grant usage on schema dure to ${role}; grant select on dure.migration to ${role}`,
    );
    const asReader = new pg.Pool({ connectionString: database.url, options: `-c role=${role}` });
    expect(await migrate({ pool: asReader })).toEqual([]);
    await asReader.end();
    await pool.query(`drop owned by ${role}; drop role ${role}`);
  });

  it("works in a schema of another name, and two of them do not disturb each other", async () => {
    const { pool } = database;
    await migrate({ pool, schema: "first_one" });
    await migrate({ pool, schema: "second" });
    await createHandledTable(pool);
    const services = ["first_one", "second"].map((schema) => createTestService({ pool, schema }));
    for (const [index, { dure }] of services.entries()) {
      dure.on(stepTaken, {}, handleInto(`of ${index}`));
      await dure.start();
      await emitSteps(dure, "k", { to: 10 * (index + 1) });
    }
    for (const index of [0, 1]) {
      const rows = await waitForHandled(pool, 10 * (index + 1), { consumer: `of ${index}` });
      expect(rows).toHaveLength(10 * (index + 1));
      expect(disorderedKeys(rows)).toEqual([]);
    }
    for (const service of services) await service.stop();
    expect(await objectsOf("dure")).toEqual([]);
    await expect(migrate({ pool, schema: 'x"; drop' })).rejects.toMatchObject({
      code: "CONFIGURATION_INVALID",
    });
  });

  it("is refused where an applied file is not ours, before anything is put on top", async () => {
    const { pool } = database;
    await migrate({ pool });
    await pool.query("update dure.migration set checksum = 'other' where number = 2");
    await pool.query(
      "delete from dure.migration where number = 6; drop table dure.participant_action",
    );
    await expect(migrate({ pool })).rejects.toMatchObject({ code: "MIGRATION_CHANGED" });
    expect(await objectsOf("dure")).not.toContain("participant_action");
    await expect(checkSchema({ pool })).rejects.toMatchObject({ code: "MIGRATION_CHANGED" });
  });

  it("is refused by a newer schema that breaks this version, and goes along with one that does not", async () => {
    const { pool } = database;
    await migrate({ pool });
    await pool.query(
      "insert into dure.migration (number, name, checksum, is_breaking) values (9998, '9998_more.sql', 'x', false)",
    );
    await checkSchema({ pool });
    expect(await migrate({ pool })).toEqual([]);
    await pool.query(
      "insert into dure.migration (number, name, checksum, is_breaking) values (9999, '9999_other.sql', 'x', true)",
    );
    for (const act of [checkSchema, migrate])
      await expect(act({ pool })).rejects.toMatchObject({ code: "SCHEMA_TOO_NEW" });
    const service = createTestService({ pool });
    await expect(service.dure.start()).rejects.toMatchObject({ code: "SCHEMA_TOO_NEW" });
    await service.stop();
  });

  it("is asked for by name where the schema is missing, in whole or in part", async () => {
    const { pool } = database;
    await expect(checkSchema({ pool })).rejects.toMatchObject({
      code: "SCHEMA_MISSING",
      message: expect.stringContaining("0001_claim.sql") as string,
    });
    await migrate({ pool });
    await pool.query("delete from dure.migration where number = 5");
    await expect(checkSchema({ pool })).rejects.toMatchObject({
      code: "SCHEMA_MISSING",
      message: expect.stringContaining("0005_log.sql;") as string,
    });
  });

  it("leaves nothing of a file that fails, and goes on from there when the cause is gone", async () => {
    const { pool } = database;
    await pool.query("create schema dure; create table dure.outbox_cursor (in_the_way int)");
    await expect(migrate({ pool })).rejects.toMatchObject({
      code: "MIGRATION_FAILED",
      message: expect.stringContaining("SQLSTATE 42P07") as string,
    });
    const { rows } = await pool.query("select number from dure.migration");
    expect(rows).toEqual([{ number: 1 }]);
    expect(await objectsOf("dure")).not.toContain("outbox_message");
    await pool.query("drop table dure.outbox_cursor");
    expect(await migrate({ pool })).toHaveLength((await readMigrations()).length - 1);
  });

  it("can be done by another tool: the printed script makes the same schema, which the library then accepts", async () => {
    const { pool } = database;
    // Stands for psql's variable.
    await pool.query((await printMigrations()).replaceAll(':"schema"', '"dure"'));
    await checkSchema({ pool });
    expect(await migrate({ pool })).toEqual([]);
  });
});

describe("the schema", () => {
  it("is the one that is checked in (DURE_UPDATE_SCHEMA=1 writes it)", async () => {
    await migrate({ pool: database.pool });
    const dump = await dumpSchema(database.pool);
    const file = new URL("../../sql/schema.sql", import.meta.url);
    if (process.env["DURE_UPDATE_SCHEMA"] === "1") await writeFile(file, dump);
    expect(await readFile(file, "utf8")).toBe(dump);
  });
});

/** From the catalog, since the packaged server comes without pg_dump. The partitions of days are left out. */
async function dumpSchema(pool: pg.Pool): Promise<string> {
  const text = async (sql: string): Promise<readonly string[]> =>
    (await pool.query<{ text: string }>(sql)).rows.map((row) => row.text);
  const ours = "relnamespace = 'dure'::regnamespace and relname !~ '_[0-9]{8}(_|$)'";
  const tables = await text(`
    select format(E'create table %I (\\n%s\\n)%s;', c.relname,
      (select string_agg(format('  %I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
          case when a.attnotnull then ' not null' else '' end,
          case when a.attidentity <> '' then ' generated always as identity'
            else coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') end), E',\\n' order by a.attnum)
        from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
      case when c.relkind = 'p' then ' partition by ' || pg_get_partkeydef(c.oid) else '' end) as text
    from pg_class c where ${ours} and relkind in ('r', 'p') order by relname`);
  const constraints = await text(`
    select format('alter table %I add constraint %I %s;', c.relname, k.conname, pg_get_constraintdef(k.oid)) as text
    from pg_constraint k join pg_class c on c.oid = k.conrelid where ${ours} and k.contype <> 'n' order by c.relname, k.conname`);
  const indexes = await text(`
    select pg_get_indexdef(c.oid) || ';' || coalesce(E'\\ncomment on index ' || c.relname || ' is ' || quote_literal(obj_description(c.oid)) || ';', '') as text
    from pg_class c where ${ours} and relkind in ('i', 'I') order by relname`);
  const sequences = await text(`
    select format('create sequence %I cache %s%s;', c.relname, s.seqcache, case when s.seqcycle then ' cycle' else '' end) as text
    from pg_class c join pg_sequence s on s.seqrelid = c.oid where ${ours} order by relname`);
  const views = await text(`
    select format(E'create view %I as\\n%s', relname, pg_get_viewdef(oid)) as text from pg_class where ${ours} and relkind = 'v' order by relname`);
  const functions = await text(`
    select pg_get_functiondef(oid) || ';' as text from pg_proc where pronamespace = 'dure'::regnamespace order by proname, pg_get_function_identity_arguments(oid)`);
  const header =
    "-- What sql/0001 to the last make of an empty schema. Written by test/integration/migrate.test.ts; not applied.";
  return `${[header, ...tables, ...constraints, ...indexes, ...sequences, ...views, ...functions].join("\n\n")}\n`;
}
