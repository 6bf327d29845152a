import { randomUUID } from "node:crypto";
import { Client, Pool, escapeIdentifier } from "pg";

/** An empty database for one test file, on the server that the test run provides. */
export interface TestDatabase {
  readonly url: string;
  readonly pool: Pool;
  /** Drops the database; fails when the test left connections to it open. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Creates a database of its own. The label is for people who look at the server. */
export async function createTestDatabase(label: string): Promise<TestDatabase> {
  const run = process.env["DURE_TEST_RUN_ID"] ?? "manual";
  const name = `dure_test_${run}_shop_${label}_${randomUUID().slice(0, 8)}`;
  await asAdmin(`create database ${escapeIdentifier(name)} template template0`);
  const url = Object.assign(new URL(serverUrl()), { pathname: `/${name}` }).href;
  const pool = new Pool({ connectionString: url, max: 10, application_name: `test ${label}` });
  return {
    url,
    pool,
    async [Symbol.asyncDispose]() {
      await pool.end();
      // Without force: PostgreSQL waits some seconds for connections that are closing, then refuses.
      await asAdmin(`drop database ${escapeIdentifier(name)}`);
    },
  };
}

async function asAdmin(statement: string): Promise<void> {
  const admin = new Client({ connectionString: serverUrl(), application_name: "test admin" });
  await admin.connect();
  try {
    await admin.query(statement);
  } finally {
    await admin.end();
  }
}

function serverUrl(): string {
  const url = process.env["DURE_TEST_POSTGRES_URL"];
  if (url === undefined) throw new Error("DURE_TEST_POSTGRES_URL is not set: run by vitest");
  return url;
}
