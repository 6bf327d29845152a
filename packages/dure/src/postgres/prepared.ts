import { createHash } from "node:crypto";
import { queryWithin } from "./pool.ts";
import type { PostgresPool, PostgresResult } from "./pool.ts";
import { sqlStateOf } from "./sqlstate.ts";

/** Runs one statement that is run very often. */
export type PreparedQuery = (
  params: readonly unknown[],
  bounds: { readonly msMax: number },
) => Promise<PostgresResult>;

/**
 * A statement that the server parses and plans once per connection, where the driver is `pg`: that is a
 * quarter of the time of a short one. Behind a pooler that hands the connections of the server round, a
 * prepared statement may be gone, or be there already; that is said before anything is executed, and from then
 * on the statement is sent whole, as with any other driver.
 */
export function preparedQuery(pool: PostgresPool, text: string): PreparedQuery {
  const name = preparedName(text);
  let isPrepared = true;
  return async (params, { msMax }) => {
    if (!isPrepared) return queryWithin(pool, text, params, { msMax });
    try {
      return await queryWithin(pool, text, params, { msMax, name });
    } catch (error) {
      if (!isUnprepared(error)) throw error;
      isPrepared = false;
      return queryWithin(pool, text, params, { msMax });
    }
  };
}

/** The text is part of the name, so that what an older version has left on a connection is never taken for ours. */
export function preparedName(text: string): string {
  return `dure_${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
}

/** Whether the connection did not have the name, or had it already: nothing was executed. */
export function isUnprepared(error: unknown): boolean {
  return unpreparedStates.has(sqlStateOf(error) ?? "");
}

/** invalid_sql_statement_name, duplicate_prepared_statement: both before execution. */
const unpreparedStates: ReadonlySet<string> = new Set(["26000", "42P05"]);
