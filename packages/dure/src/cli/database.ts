import type { Pool } from "pg";
import { DureError } from "../core/errors.ts";
import { checkSchema } from "../postgres/index.ts";
import { CliFailure } from "./failure.ts";

/** Which database a command is for. */
export interface DatabaseOptions {
  readonly databaseUrl?: string;
  readonly schema: string;
}

const connectMsMax = 10_000;

/**
 * Runs `work` with a pool on the database that was named, and ends the pool. What the work throws says
 * where it was connected to, and never the password.
 */
export async function withPool<Result>(
  options: DatabaseOptions,
  work: (pool: Pool) => Promise<Result>,
): Promise<Result> {
  const url = readUrl(options.databaseUrl);
  const { default: pg } = await import("pg").catch((cause: unknown) => {
    throw new CliFailure("the command line needs the npm package pg: run npm install pg", {
      cause,
    });
  });
  const pool = new pg.Pool({
    connectionString: url.href,
    application_name: "dure cli",
    connectionTimeoutMillis: connectMsMax,
    max: 1,
  });
  pool.on("error", () => {}); // an idle connection that is lost; the next query says so
  try {
    return await work(pool);
  } catch (error) {
    throw error instanceof DureError ? error : new CliFailure(undefined, { cause: error, url });
  } finally {
    await pool.end();
  }
}

/** As {@link withPool}, and first sees to it that the schema is there and of this version. */
export function withCheckedPool<Result>(
  options: DatabaseOptions,
  work: (pool: Pool) => Promise<Result>,
): Promise<Result> {
  return withPool(options, async (pool) => {
    await checkSchema({ pool, schema: options.schema });
    return work(pool);
  });
}

function readUrl(text: string | undefined): URL {
  if (text === undefined || text === "") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "which database? Give --database-url postgres://user:password@host:5432/database, or set DATABASE_URL",
    );
  }
  const url = URL.parse(text);
  if (url !== null && /^postgres(?:ql)?:$/.test(url.protocol)) return url;
  // The text is not repeated: it may hold a password.
  throw new DureError(
    "CONFIGURATION_INVALID",
    "the database's URL cannot be read: it must look like postgres://user:password@host:5432/database, with special characters of the password percent-encoded",
  );
}
