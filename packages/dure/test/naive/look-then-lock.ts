import type { TransactionHandle } from "../../src/index.ts";

/** The table of the naive lock: one row for each resource. */
export const naiveLockTable =
  "create table naive_lock (resource text primary key, owner text, expires_at timestamptz)";

/**
 * Looks whether somebody has the lock, and writes itself in when nobody does. The obvious version: an owner
 * column on the room or product, `if (!room.owner) room.owner = sagaId; save(room)`.
 *
 * It gives one room to two: between look and write a rival looks too.
 */
export async function lookThenLock(
  tx: TransactionHandle,
  { resource, owner }: { readonly resource: string; readonly owner: string },
): Promise<"acquired" | "held"> {
  const { rows } = await tx.query(
    "select owner from naive_lock where resource = $1 and (expires_at is null or expires_at > clock_timestamp())",
    [resource],
  );
  if (typeof rows[0]?.["owner"] === "string") return "held";
  await tx.query("update naive_lock set owner = $1 where resource = $2", [owner, resource]);
  return "acquired";
}
