import type { TransactionHandle } from "../../src/index.ts";

/**
 * Frees the lock without asking whose it is: the compensation of a saga that believes that it still has it.
 *
 * It frees the lock of whoever took it over after it had expired, and a third saga walks in.
 */
export async function releaseUnasked(tx: TransactionHandle, resource: string): Promise<void> {
  await tx.query("update naive_lock set owner = null, expires_at = null where resource = $1", [
    resource,
  ]);
}
