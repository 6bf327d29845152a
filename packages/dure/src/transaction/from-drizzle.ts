import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** A Drizzle transaction on PostgreSQL by its shape. The `db` has no `rollback`, and its type says so. */
export interface DrizzleTransaction {
  /** Drizzle's own type of a query is a class with private parts, which no other type can match. */
  execute(query: never): PromiseLike<unknown>;
  rollback(): unknown;
}

/**
 * The transaction of Drizzle on PostgreSQL (node-postgres, postgres-js): the `tx` that
 * `db.transaction(async (tx) => …)` hands you.
 *
 * An error of the database comes as the driver threw it, without Drizzle's `DrizzleQueryError` around it,
 * whose message holds the parameters.
 *
 * @throws CONFIGURATION_INVALID for the `db`: it is no transaction
 */
export function fromDrizzle(tx: DrizzleTransaction): TransactionHandle {
  const given = tx as { readonly [Name in keyof DrizzleTransaction]?: unknown } | null | undefined;
  if (typeof given?.execute !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromDrizzle: this is no Drizzle transaction; pass the tx that db.transaction hands to your function",
    );
  }
  if (typeof given.rollback !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromDrizzle: this is the db and no transaction; pass the tx that db.transaction hands to your function",
    );
  }
  return {
    async query(text, params = []) {
      try {
        return resultOf(await tx.execute(rawQuery(text, params) as never));
      } catch (error) {
        throw error instanceof Error && error.cause instanceof Error ? error.cause : error;
      }
    },
  };
}

/** Drizzle asks a query for its SQL and that for its text: the two methods stand here without its classes. */
function rawQuery(text: string, params: readonly unknown[]): object {
  const sql = {
    getSQL: () => sql,
    toQuery: () => ({ sql: text, params: [...params], typings: params.map(() => "none") }),
  };
  return sql;
}

/** node-postgres answers with an object, postgres.js with the rows themselves. */
function resultOf(answer: unknown): Awaited<ReturnType<TransactionHandle["query"]>> {
  if (Array.isArray(answer)) {
    const { count } = answer as { readonly count?: number | null };
    return { rows: answer as Record<string, unknown>[], rowCount: count ?? answer.length };
  }
  return answer as Awaited<ReturnType<TransactionHandle["query"]>>;
}
