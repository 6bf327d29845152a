import type { Pool } from "pg";
import type { ReturnStatus } from "../contracts/http/returns.ts";
import type { TimelineEntry } from "../contracts/http/timeline.ts";
import * as sql from "./return-sql.ts";

/** Who wanted an order canceled, and what was returned of it, with the sagas that did it. */
export async function ownUndoing(pool: Pool, orderId: string): Promise<readonly TimelineEntry[]> {
  const [canceled, returned] = await Promise.all([
    pool.query<CancellationRow>(sql.readCancellation, [orderId]),
    pool.query<ReturnRow>(sql.listReturnsOf, [orderId]),
  ]);
  return [...canceled.rows.map(cancellationOf), ...returned.rows.flatMap(returnOf)];
}

const service = "order";

function cancellationOf(row: CancellationRow): TimelineEntry {
  const { requested_by: userId, saga_id: sagaId } = row;
  return {
    at: row.created_at.toISOString(),
    service,
    kind: "request",
    what: "POST /orders/{orderId}/cancel",
    details: { userId, ...(sagaId === null ? {} : { sagaId }) },
  };
}

function returnOf(row: ReturnRow): readonly TimelineEntry[] {
  const { id: returnId, saga_id: sagaId, status } = row;
  const [quantity, refund] = [Number(row.quantity), Number(row.amount)];
  const details = { returnId, sagaId, quantity, refund };
  const at = row.created_at.toISOString();
  const accepted: TimelineEntry = { at, service, kind: "request", what: "POST /returns", details };
  if (status === "PENDING") return [accepted];
  const endedAt = row.updated_at.toISOString();
  const what = `return ${status}`;
  return [accepted, { at: endedAt, service, kind: "step", what, details: { returnId, sagaId } }];
}

interface CancellationRow {
  readonly requested_by: string;
  readonly saga_id: string | null;
  readonly created_at: Date;
}

interface ReturnRow {
  readonly id: string;
  readonly status: ReturnStatus;
  readonly saga_id: string;
  readonly quantity: string;
  readonly amount: string;
  readonly created_at: Date;
  readonly updated_at: Date;
}
