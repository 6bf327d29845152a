import type { ServiceTransaction } from "dure";
import type { PoolClient } from "pg";
import * as sql from "./payment-sql.ts";

/** Adds a line to the order's timeline, in the transaction of the change that it tells of. */
export async function addHistory(
  tx: ServiceTransaction<PoolClient>,
  orderId: string,
  what: string,
  detail: Readonly<Record<string, string | number | boolean>>,
  kind: "payment" | "compensation" = "payment",
): Promise<void> {
  const values = [orderId, what, kind === "compensation", JSON.stringify(detail)];
  await tx.client.query(sql.insertHistory, values);
}
