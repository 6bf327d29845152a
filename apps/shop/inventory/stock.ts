import { PermanentError, RetryableError } from "dure";
import type { TransactionHandle } from "dure";
import type { ProductQuantity, StockLevel } from "./domain.ts";
import * as sql from "./stock-sql.ts";

/** Whether a lock is waited for, or given up at once because the transaction has others. */
export type LockWait = "wait" | "give-up";

/** Locks the products' rows in the order of their ids: everybody's first lock. */
export async function lockLevels(
  tx: TransactionHandle,
  productIds: readonly string[],
  wait: LockWait,
): Promise<ReadonlyMap<string, StockLevel>> {
  const text = wait === "wait" ? sql.lockProducts : sql.lockFreeProducts;
  const { rows } = await tx.query(text, [productIds]);
  if (wait === "give-up" && rows.length < productIds.length) {
    throw new RetryableError("a product is another order's at the moment, or unknown");
  }
  return new Map(
    rows.map((row) => [
      String(row["product_id"]),
      { available: Number(row["available_quantity"]), reserved: Number(row["reserved_quantity"]) },
    ]),
  );
}

/** Moves pieces by one of the statements, each product once; their rows are locked. */
export async function move(
  tx: TransactionHandle,
  text: string,
  pieces: readonly ProductQuantity[],
): Promise<void> {
  const { rowCount } = await tx.query(text, columnsOf(pieces));
  if (rowCount === pieces.length) return;
  // The rows were locked and looked at: only a defect, or a hand in the tables, comes here.
  throw new PermanentError(`stock moved for ${rowCount ?? 0} of ${pieces.length} products`);
}

/** The products of the pieces. */
export function productIdsOf(pieces: readonly ProductQuantity[]): readonly string[] {
  return pieces.map((piece) => piece.productId);
}

/** Pieces as two arrays, for `unnest`. */
export function columnsOf(
  pieces: readonly ProductQuantity[],
): readonly [readonly string[], number[]] {
  return [productIdsOf(pieces), pieces.map((piece) => piece.quantity)];
}
