import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase } from "../chassis/testing/test-database.ts";
import type { TestDatabase } from "../chassis/testing/test-database.ts";
import { migrate } from "../chassis/migrate.ts";

// The chassis' own tests run without a server, so its migrator is tested with its first user.

let database: TestDatabase;
let folder: string;

beforeEach(async () => {
  database = await createTestDatabase("migrate");
  folder = await mkdtemp(join(tmpdir(), "shop-migrate-"));
});

afterEach(async () => {
  await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const write = (name: string, sql: string) => writeFile(join(folder, name), sql);
const run = () => migrate(database.pool, pathToFileURL(folder));

test("files run once, in order, also when several instances start at once", async () => {
  await write("0002_b.sql", "alter table a add column b int");
  await write("0001_a.sql", "create table a (id int)");
  // Connections that are open already, so that the runs really meet.
  const { pool } = database;
  await Promise.all(Array.from({ length: 8 }, () => pool.query("select pg_sleep(0)")));
  const runs = await Promise.all(Array.from({ length: 8 }, run));
  expect(runs.flat().sort()).toEqual(["0001_a.sql", "0002_b.sql"]);
  expect(await run()).toEqual([]);
  await write("0003_c.sql", "alter table a add column c int");
  expect(await run()).toEqual(["0003_c.sql"]);
});

test("a file that fails leaves nothing, and runs when it is mended", async () => {
  await write("0001_a.sql", "create table a (id int); select 1 / 0");
  await expect(run()).rejects.toThrow("0001_a.sql failed");
  await write("0001_a.sql", "create table a (id int)");
  expect(await run()).toEqual(["0001_a.sql"]);
});

test("history cannot be rewritten: changed, removed or inserted files stop the start", async () => {
  await write("0002_b.sql", "create table b (id int)");
  await run();
  await write("0001_a.sql", "create table a (id int)");
  await expect(run()).rejects.toThrow("0001_a.sql comes before 0002_b.sql");
  await rm(join(folder, "0001_a.sql"));
  await write("0002_b.sql", "create table b (id bigint)");
  await expect(run()).rejects.toThrow("0002_b.sql changed");
  await rm(join(folder, "0002_b.sql"));
  await write("0003_c.sql", "create table c (id int)");
  await expect(run()).rejects.toThrow("0002_b.sql, but the file is gone");
});

test("a file with another kind of name is refused", async () => {
  await write("first.sql", "select 1");
  await expect(run()).rejects.toThrow("NNNN_name.sql");
});
