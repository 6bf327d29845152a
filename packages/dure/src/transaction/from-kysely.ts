import { DureError } from "../core/errors.ts";
import { newId } from "../core/id.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** A Kysely `Transaction` by its shape. A `Kysely` instance is none, and its type says so. */
export interface KyselyTransaction {
  readonly isTransaction: true;
  withoutPlugins(): KyselyTransaction;
  executeQuery(query: KyselyRawQuery): Promise<{
    readonly rows: readonly unknown[];
    readonly numAffectedRows?: bigint;
  }>;
}

/** What Kysely's `CompiledQuery.raw` makes. */
interface KyselyRawQuery {
  readonly sql: string;
  readonly parameters: readonly unknown[];
  readonly query: {
    readonly kind: "RawNode";
    readonly sqlFragments: readonly string[];
    readonly parameters: readonly never[];
  };
  readonly queryId: { readonly queryId: string };
}

/**
 * The transaction of Kysely on PostgreSQL: `db.transaction().execute(async (trx) => …)` or a controlled
 * one. Plugins such as `CamelCasePlugin` see nothing of our statements.
 *
 * @throws CONFIGURATION_INVALID for a `Kysely` that is no transaction
 */
export function fromKysely(trx: KyselyTransaction): TransactionHandle {
  const given = trx as { readonly [Name in keyof KyselyTransaction]?: unknown } | null | undefined;
  if (typeof given?.executeQuery !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromKysely: this is no Kysely transaction; pass the trx that db.transaction().execute hands to your function",
    );
  }
  if (given.isTransaction !== true) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromKysely: this is the db and no transaction; pass the trx that db.transaction().execute hands to your function",
    );
  }
  const plain = trx.withoutPlugins();
  return {
    async query(text, params = []) {
      const { rows, numAffectedRows } = await plain.executeQuery({
        sql: text,
        parameters: params,
        query: { kind: "RawNode", sqlFragments: [text], parameters: [] },
        queryId: { queryId: newId() },
      });
      return {
        // PostgreSQL's rows are records, whatever the query is said to return.
        rows: rows as readonly Record<string, unknown>[],
        rowCount: numAffectedRows === undefined ? rows.length : Number(numAffectedRows),
      };
    },
  };
}
