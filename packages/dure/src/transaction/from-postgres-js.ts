import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

interface PostgresJsConnection {
  unsafe(text: string, params?: unknown[]): PromiseLike<PostgresJsRows>;
}

type PostgresJsRows = readonly Record<string, unknown>[] & { readonly count?: number | null };

/**
 * The `sql` of a postgres.js transaction by its shape (`sql.begin(async (sql) => …)`), or a reserved
 * connection on which you ran BEGIN. The root `sql` is neither, and its type says so.
 */
export type PostgresJsTransaction = PostgresJsConnection &
  ({ readonly savepoint: (...args: never) => unknown } | { release(): unknown });

/**
 * The transaction of postgres.js. Pass the `sql` that `sql.begin` hands you, not the one outside.
 *
 * A client with `transform.column.from` renames the columns of our answers too. `outbox.emit` reads none;
 * for the participant barrier use a client without it.
 *
 * @throws CONFIGURATION_INVALID for the root `sql`: each of its queries may run on another connection
 */
export function fromPostgresJs(sql: PostgresJsTransaction): TransactionHandle {
  // The root `sql` is told by what it lacks; casts come here too, whatever the type says.
  const given = sql as
    | { readonly [Name in "unsafe" | "savepoint" | "release"]?: unknown }
    | null
    | undefined;
  if (typeof given?.unsafe !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromPostgresJs: this is no sql of postgres.js; pass the one that sql.begin hands to your function",
    );
  }
  if (typeof given.savepoint !== "function" && typeof given.release !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromPostgresJs: this is the root sql, whose queries run on any connection; pass the sql that sql.begin hands to your function",
    );
  }
  return {
    async query(text, params) {
      const rows = await sql.unsafe(text, params === undefined ? [] : [...params]);
      return { rows, rowCount: rows.count ?? rows.length };
    },
  };
}
