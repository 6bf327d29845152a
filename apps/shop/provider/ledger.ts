import type { Pool } from "pg";
import type { LedgerEntry, OrderBalance, ProviderOperation } from "../contracts/http/provider.ts";
import * as sql from "./operation-sql.ts";

/** The movements of one order, or of all orders, oldest first. */
export async function listLedger(
  pool: Pool,
  orderId: string | undefined,
): Promise<readonly LedgerEntry[]> {
  const { rows } = await pool.query<EntryRow>(sql.listEntries, [orderId]);
  return rows.map((row) => ({
    orderId: row.order_id,
    operation: row.operation,
    amount: Number(row.amount),
    key: row.key,
    at: row.created_at.toISOString(),
  }));
}

/** What moved per order, added up in one statement. */
export async function summarizeLedger(pool: Pool): Promise<readonly OrderBalance[]> {
  const { rows } = await pool.query<SummaryRow>(sql.sumByOrder);
  return rows.map((row) => {
    const captured = Number(row.captured);
    const charged = Number(row.charged);
    const refunded = Number(row.refunded);
    return {
      orderId: row.order_id,
      authorized: Number(row.authorized),
      captured,
      charged,
      voided: Number(row.voided),
      refunded,
      net: captured + charged - refunded,
    };
  });
}

interface EntryRow {
  readonly order_id: string;
  readonly operation: ProviderOperation;
  readonly amount: string;
  readonly key: string;
  readonly created_at: Date;
}

/** Sums come as text, because a bigint need not fit a number; amounts of the shop do. */
interface SummaryRow {
  readonly order_id: string;
  readonly authorized: string;
  readonly captured: string;
  readonly charged: string;
  readonly voided: string;
  readonly refunded: string;
}
