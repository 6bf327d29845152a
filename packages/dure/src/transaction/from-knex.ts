import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** A Knex transaction by its shape. The `knex` outside has no `commit`, and its type says so. */
export interface KnexTransaction {
  readonly isTransaction?: boolean;
  raw(sql: string, bindings: never): PromiseLike<unknown>;
  commit(value?: never): unknown;
}

/**
 * The transaction of Knex on PostgreSQL: the `trx` that `knex.transaction(async (trx) => …)` hands you.
 * `postProcessResponse` and `wrapIdentifier` see our statements as they see yours made by `raw`.
 *
 * An error of the database keeps its SQLSTATE, and loses the statement that Knex puts in front of its message,
 * with the parameters filled in.
 *
 * @throws CONFIGURATION_INVALID for a `knex` that is no transaction
 */
export function fromKnex(trx: KnexTransaction): TransactionHandle {
  // A knex is a function with properties.
  const given = trx as Partial<KnexTransaction> | null | undefined;
  if (typeof given?.raw !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromKnex: this is no Knex transaction; pass the trx that knex.transaction hands to your function",
    );
  }
  if (given.isTransaction !== true || typeof given.commit !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromKnex: this is the knex and no transaction; pass the trx that knex.transaction hands to your function",
    );
  }
  return {
    async query(text, params = []) {
      const { sql, bindings } = positional(text, params);
      try {
        return (await trx.raw(sql, bindings as never)) as KnexResult;
      } catch (error) {
        throw withoutStatement(error);
      }
    },
  };
}

type KnexResult = Awaited<ReturnType<TransactionHandle["query"]>>;

/** Knex knows `?` and no `$n`: every mention of a parameter is one of its own, and a `?` of ours is escaped. */
function positional(
  text: string,
  params: readonly unknown[],
): { readonly sql: string; readonly bindings: readonly unknown[] } {
  const bindings: unknown[] = [];
  const sql = text.replace(/\?|\$(\d+)/g, (_, number: string | undefined) => {
    if (number === undefined) return String.raw`\?`;
    bindings.push(params[Number(number) - 1]);
    return "?";
  });
  return { sql, bindings };
}

/** Knex puts `statement - ` in front of the driver's message. What follows the last dash is nobody's parameter. */
function withoutStatement(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const at = error.message.lastIndexOf(" - ");
  if (at >= 0) error.message = error.message.slice(at + 3);
  return error;
}
