import type { Pool } from "pg";
import type { z } from "zod";
import type { DeliveriesPage, PageQuery, TimelineEntry } from "../contracts/http/internal.ts";
import * as sql from "./delivery-sql.ts";
import type { DeliveryStatus } from "./domain.ts";

const limitDefault = 1000;

/** Deliveries after an order id; those that wait for the carrier are not among them. */
export async function readDeliveriesPage(
  pool: Pool,
  { after = "", limit = limitDefault }: z.infer<typeof PageQuery>,
): Promise<z.infer<typeof DeliveriesPage>> {
  const { rows } = await pool.query<PageRow>(sql.listDeliveries, [after, limit]);
  const deliveries = rows.map((row) => ({ orderId: row.order_id, status: row.status }));
  const last = deliveries.at(-1);
  return rows.length < limit || last === undefined
    ? { deliveries }
    : { deliveries, next: last.orderId };
}

/** What delivery did for an order, oldest first. */
export async function readTimeline(
  pool: Pool,
  orderId: string,
): Promise<z.infer<typeof TimelineEntry>[]> {
  const { rows } = await pool.query<DeliveryRow>(sql.readDelivery, [orderId]);
  return rows.flatMap(entriesOf);
}

/** How many deliveries wait for the carrier. */
export async function countPendingDeliveries(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ readonly pending: string }>(sql.countPending);
  return Number(rows[0]?.pending ?? 0);
}

function entriesOf(row: DeliveryRow): z.infer<typeof TimelineEntry>[] {
  const { status, is_orchestrated: isOrchestrated, stopped_at: stoppedAt } = row;
  const entry = (at: Date, what: string, detail = detailOf(row), isStep = isOrchestrated) => ({
    at: at.toISOString(),
    service: "delivery",
    kind: isStep ? ("step" as const) : ("delivery" as const),
    what,
    detail,
  });
  const asked = entry(row.created_at, "delivery asked for");
  if (status === "PENDING") return [asked];
  const decided = entry(row.decided_at, `delivery ${status === "REFUSED" ? "refused" : "started"}`);
  if (stoppedAt === null) return [asked, decided];
  const { stop_saga_id: sagaId, stop_key: key } = row;
  const detail = { sagaId: sagaId ?? "", key: key ?? "", deliveryId: row.delivery_id };
  return [asked, decided, entry(stoppedAt, "delivery stopped", detail, true)];
}

function detailOf(row: DeliveryRow): Record<string, string | number> {
  return {
    sagaId: row.saga_id,
    deliveryId: row.delivery_id,
    attempts: row.attempt_count,
    ...(row.is_orchestrated ? { key: row.idempotency_key } : {}),
    ...(row.fencing_token === null ? {} : { fencingToken: row.fencing_token }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.last_error === null ? {} : { lastError: row.last_error }),
  };
}

interface PageRow {
  readonly order_id: string;
  readonly status: Exclude<DeliveryStatus, "PENDING">;
}

interface DeliveryRow {
  readonly delivery_id: string;
  readonly saga_id: string;
  readonly status: DeliveryStatus;
  readonly reason: string | null;
  readonly attempt_count: number;
  readonly last_error: string | null;
  readonly created_at: Date;
  readonly decided_at: Date;
  readonly is_orchestrated: boolean;
  readonly idempotency_key: string;
  readonly fencing_token: string | null;
  readonly stopped_at: Date | null;
  readonly stop_saga_id: string | null;
  readonly stop_key: string | null;
}
