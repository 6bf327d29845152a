import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** A Sequelize transaction by its shape. A `Sequelize` is none, and its type says so. */
export interface SequelizeTransaction {
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** What a transaction has beside its public type: the `Sequelize` whose it is. */
interface WithSequelize extends Partial<SequelizeTransaction> {
  readonly sequelize?: {
    query(text: string, options: object): Promise<unknown>;
  };
}

/**
 * The transaction of Sequelize 6 on PostgreSQL: the `transaction` that
 * `sequelize.transaction(async (transaction) => …)` hands you, or an unmanaged one.
 *
 * An error of the database comes as the driver threw it, without the parameters that Sequelize adds.
 *
 * @throws CONFIGURATION_INVALID for a `Sequelize`: each of its queries may run on another connection
 */
export function fromSequelize(transaction: SequelizeTransaction): TransactionHandle {
  const given: WithSequelize | null | undefined = transaction;
  if (typeof given?.commit !== "function" || typeof given.sequelize?.query !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromSequelize: this is no Sequelize transaction; pass the one that sequelize.transaction hands to your function",
    );
  }
  const { sequelize } = given;
  return {
    async query(text, params = []) {
      // Without parameters it reads no `$1`, and refuses an empty list.
      const bind = params.length > 0 ? { bind: [...params] } : {};
      try {
        const answer = await sequelize.query(text, { ...bind, transaction });
        const [rows, result] = answer as [Record<string, unknown>[], { rowCount?: number | null }];
        return { rows, rowCount: result.rowCount ?? rows.length };
      } catch (error) {
        throw driverError(error);
      }
    },
  };
}

function driverError(error: unknown): unknown {
  const { original } = (error ?? {}) as { readonly original?: Record<string, unknown> };
  if (!(original instanceof Error)) return error;
  delete original["parameters"];
  return original;
}
