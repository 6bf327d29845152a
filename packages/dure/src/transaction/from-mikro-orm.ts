import { DureError } from "../core/errors.ts";
import type { TransactionHandle } from "../core/transaction.ts";
import { fromKysely } from "./from-kysely.ts";
import type { KyselyTransaction } from "./from-kysely.ts";

/** A MikroORM `EntityManager` by its shape. */
export interface MikroOrmManager {
  isInTransaction(): boolean;
  getTransactionContext(): unknown;
}

/**
 * The transaction of MikroORM 7 on PostgreSQL: the manager that `em.transactional(async (em) => …)` hands you, or
 * one on which you ran `em.begin()`. What has been persisted and not flushed is written when MikroORM flushes,
 * after the event and in the same transaction.
 *
 * @throws CONFIGURATION_INVALID for a manager without a transaction, and before MikroORM 7
 */
export function fromMikroOrm(em: MikroOrmManager): TransactionHandle {
  const given = em as Partial<MikroOrmManager> | null | undefined;
  if (typeof given?.isInTransaction !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromMikroOrm: this is no MikroORM manager; pass the em that em.transactional hands to your function",
    );
  }
  if (!em.isInTransaction()) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromMikroOrm: this em is not inside a transaction; pass the em that em.transactional hands to your function",
    );
  }
  // MikroORM 7 stands on Kysely: its context of a transaction is one of Kysely's.
  const trx = em.getTransactionContext() as Partial<KyselyTransaction> | undefined;
  if (typeof trx?.executeQuery !== "function") {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "fromMikroOrm: this em has no transaction of Kysely's; MikroORM 7 or later is needed",
    );
  }
  return fromKysely(trx as KyselyTransaction);
}
