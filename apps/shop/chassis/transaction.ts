import type { Pool, PoolClient } from "pg";

/** Behind a statement that nobody answers nothing is answered either. */
const rollbackMsMax = 2_000;

/**
 * Runs the work in one READ COMMITTED transaction: committed when it resolves, rolled back when it
 * rejects. When the process dies inside, nothing of it has happened.
 */
export async function inTransaction<T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let isBroken = false;
  try {
    await client.query("begin");
    const result = await work(client);
    await client.query("commit");
    return result;
  } catch (error) {
    // A connection that cannot even roll back is of no use to anyone else.
    const rollback = { text: "rollback", query_timeout: rollbackMsMax };
    await client.query(rollback).catch(() => {
      isBroken = true;
    });
    throw error;
  } finally {
    client.release(isBroken);
  }
}
