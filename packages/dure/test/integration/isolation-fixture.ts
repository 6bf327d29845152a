/** Transactions as a user writes them, and a barrier at which racing ones meet. */
import type pg from "pg";
import type { TransactionHandle } from "../../src/index.ts";
import { fromPg } from "../../src/transaction/index.ts";

/** BEGIN, the work, COMMIT; ROLLBACK when it throws. */
export async function inTransaction<Result>(
  pool: pg.Pool,
  work: (tx: TransactionHandle) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    const result = await work(fromPg(client));
    await client.query("commit");
    client.release();
    return result;
  } catch (error) {
    await client.query("rollback");
    client.release();
    throw error;
  }
}

/** Resolves for all when so many have come. */
export function meeting(count: number): () => Promise<void> {
  const all = Promise.withResolvers<void>();
  let arrived = 0;
  return () => {
    arrived += 1;
    if (arrived === count) all.resolve();
    return all.promise;
  };
}

/** How many of each kind. */
export function countKinds(outcomes: readonly { readonly kind: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of outcomes) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}
