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
  return rows.flatMap((row) => {
    const entry = (at: Date, what: string) => ({
      at: at.toISOString(),
      service: "delivery",
      kind: "delivery" as const,
      what,
      detail: detailOf(row),
    });
    const asked = entry(row.created_at, "delivery asked for");
    if (row.status === "PENDING") return [asked];
    return [asked, entry(row.updated_at, `delivery ${row.status.toLowerCase()}`)];
  });
}

/** How many deliveries wait for the carrier. */
export async function countPendingDeliveries(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ readonly pending: string }>(sql.countPending);
  return Number(rows[0]?.pending ?? 0);
}

function detailOf(row: DeliveryRow): Record<string, string | number> {
  return {
    sagaId: row.saga_id,
    deliveryId: row.delivery_id,
    attempts: row.attempt_count,
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
  readonly updated_at: Date;
}
