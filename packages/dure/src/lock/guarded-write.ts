import type { TransactionHandle } from "../core/transaction.ts";

/** Under which lock something is written: what {@link Locked} and {@link Lease} carry. */
export interface FencingClaim {
  readonly token: number;
  readonly holder: string;
}

/**
 * The guard of writes that have no place for a token: it remembers, for a resource of any name, the greatest token
 * under which it was written.
 */
export interface LockGuard {
  /**
   * Accepts a greater token than any before, or the same of the same holder, and keeps all other writers of the
   * resource out until the transaction ends. Call it first in the transaction, before what is read to be changed.
   *
   * @throws FENCED when a later holder was here: let it roll back
   * @throws NOT_IN_TRANSACTION when the handle is not inside a transaction: nothing was written
   * @throws CONFIGURATION_INVALID when the resource or the claim cannot be used
   */
  assertNewest(
    tx: TransactionHandle,
    write: FencingClaim & { readonly resource: string },
  ): Promise<void>;
}

/** A row's id, in a form that drivers send as it is. */
type RowId = string | number | bigint;

/** Rows of a table of yours, each with the token under which it was written last. */
export interface FencedTable<Column extends string> {
  /**
   * Writes the row under the claim: if its token is smaller, or the same of the same holder. The token is compared and
   * the row written in one statement.
   *
   * @throws FENCED when the row has a later token: nothing was written; let it roll back
   * @throws CONFIGURATION_INVALID when a column is not among those given at construction
   */
  update(
    tx: TransactionHandle,
    write: FencingClaim & {
      readonly id: RowId;
      readonly set: Partial<Readonly<Record<Column, unknown>>>;
    },
  ): Promise<{ readonly kind: "updated" } | { readonly kind: "not-found" }>;
}
