import type { TransactionHandle } from "../../src/index.ts";

/**
 * Reads an amount, computes, and writes the result: what an ORM's `find`, change, `save` comes to.
 *
 * It loses what was written between the two, without a word.
 */
export async function readThenWrite(
  tx: TransactionHandle,
  { id, add }: { readonly id: string; readonly add: number },
): Promise<void> {
  const { rows } = await tx.query("select amount from product where id = $1", [id]);
  await tx.query("update product set amount = $1 where id = $2", [
    Number(rows[0]?.["amount"]) + add,
    id,
  ]);
}
