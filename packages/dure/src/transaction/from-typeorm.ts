import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";

/** A TypeORM `QueryRunner` by its shape. */
export interface TypeormQueryRunner {
  readonly isTransactionActive: boolean;
  query(text: string, params: unknown[], useStructuredResult: true): Promise<TypeormResult>;
}

/** A TypeORM `EntityManager` by its shape; the one of a transaction has a runner. */
export interface TypeormManager {
  readonly queryRunner?: TypeormQueryRunner | undefined;
  transaction(work: never): unknown;
}

interface TypeormResult {
  readonly records: unknown[];
  readonly affected?: number | null | undefined;
}

/**
 * The transaction of TypeORM on PostgreSQL: the manager that `dataSource.transaction(async (manager) => …)` hands
 * you, or a `QueryRunner` on which you ran `startTransaction()`.
 *
 * An error of the database comes as the driver threw it, without TypeORM's `QueryFailedError` around it, which
 * holds the parameters.
 *
 * @throws CONFIGURATION_INVALID for a manager or a runner without a transaction
 */
export function fromTypeorm(transaction: TypeormManager | TypeormQueryRunner): TransactionHandle {
  const given = transaction as (Partial<TypeormManager> & Partial<TypeormQueryRunner>) | null;
  const isRunner = typeof given?.isTransactionActive === "boolean";
  if (!isRunner && typeof given?.transaction !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromTypeorm: this is no TypeORM manager; pass the one that dataSource.transaction hands to your function",
    );
  }
  const runner = isRunner ? (given as TypeormQueryRunner) : given?.queryRunner;
  if (runner?.isTransactionActive !== true) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromTypeorm: this is not inside a transaction; pass the manager that dataSource.transaction hands to your function",
    );
  }
  return {
    async query(text, params = []) {
      try {
        const { records, affected } = await runner.query(text, [...params], true);
        // PostgreSQL's rows are records.
        return { rows: records as Record<string, unknown>[], rowCount: affected ?? records.length };
      } catch (error) {
        throw (error as { readonly driverError?: unknown } | null)?.driverError ?? error;
      }
    },
  };
}
