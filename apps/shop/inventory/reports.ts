import type { Pool } from "pg";
import type { z } from "zod";
import type {
  PageQuery,
  ReservationsPage,
  StockPage,
  TimelineEntry,
} from "../contracts/http/internal.ts";
import type { HistoryLine } from "./history.ts";
import * as sql from "./product-sql.ts";

type Page = z.infer<typeof PageQuery>;

const limitDefault = 1000;

/** Products after a product id, in one snapshot with their journals. */
export async function readStockPage(
  pool: Pool,
  { after = "", limit = limitDefault }: Page,
): Promise<z.infer<typeof StockPage>> {
  const { rows } = await pool.query<StockRow>(sql.listStock, [after, limit]);
  const products = rows.map((row) => ({
    productId: row.product_id,
    available: Number(row.available_quantity),
    reserved: Number(row.reserved_quantity),
    sold: Number(row.sold_quantity),
    adjusted: Number(row.adjusted),
  }));
  const last = products.at(-1);
  return rows.length < limit || last === undefined
    ? { products }
    : { products, next: last.productId };
}

/** Reservations after an order id; the limit may be exceeded by the last order's other products. */
export async function readReservationsPage(
  pool: Pool,
  { after = "", limit = limitDefault }: Page,
): Promise<z.infer<typeof ReservationsPage>> {
  const { rows } = await pool.query<ReservationRow>(sql.listReservations, [after, limit]);
  const reservations = rows.map((row) => ({
    orderId: row.order_id,
    productId: row.product_id,
    quantity: Number(row.quantity),
    restocked: Number(row.restocked_quantity),
    status: row.status,
  }));
  const last = reservations.at(-1);
  return rows.length < limit || last === undefined
    ? { reservations }
    : { reservations, next: last.orderId };
}

/** What inventory did for an order, oldest first. */
export async function readTimeline(
  pool: Pool,
  orderId: string,
): Promise<z.infer<typeof TimelineEntry>[]> {
  const { rows } = await pool.query<HistoryRow>(sql.listHistory, [orderId]);
  return rows.map((row) => ({
    at: row.created_at.toISOString(),
    service: "inventory",
    kind: kindOf(row),
    what: sentences[row.what],
    detail: {
      sagaId: row.saga_id,
      ...(row.reason === null ? {} : { reason: row.reason }),
      ...(row.product_id === null ? {} : { productId: row.product_id }),
      ...(row.step_key === null ? {} : { key: row.step_key }),
      ...(row.fencing_token === null ? {} : { fencingToken: row.fencing_token }),
      ...(row.return_id === null ? {} : { returnId: row.return_id }),
    },
  }));
}

/** How many reservations outlived their time. */
export async function countExpiredReservations(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ readonly expired: string }>(sql.countExpired);
  return Number(rows[0]?.expired ?? 0);
}

const sentences: Readonly<Record<HistoryRow["what"], string>> = {
  RESERVED: "stock reserved",
  REFUSED: "stock reservation refused",
  CONFIRMED: "reservation confirmed",
  RELEASED: "reservation released",
  CONFIRM_REFUSED: "confirmation refused: the reservation is not held any more",
  UNCONFIRMED: "confirmation undone",
  RESTOCKED: "pieces restocked",
  EXPIRED: "reservation expired",
  RENEWED: "reservation renewed",
};

function kindOf({ what, step_key: stepKey }: HistoryRow): "compensation" | "step" | "stock" {
  if (what === "RELEASED" || what === "UNCONFIRMED") return "compensation";
  return stepKey === null ? "stock" : "step";
}

/** bigint columns come as text; the shop's quantities fit numbers. */
interface StockRow {
  readonly product_id: string;
  readonly available_quantity: string;
  readonly reserved_quantity: string;
  readonly sold_quantity: string;
  readonly adjusted: string;
}

interface ReservationRow {
  readonly order_id: string;
  readonly product_id: string;
  readonly quantity: string;
  readonly restocked_quantity: string;
  readonly status: "RESERVED" | "CONFIRMED" | "RELEASED";
}

interface HistoryRow {
  readonly created_at: Date;
  readonly saga_id: string;
  readonly what: HistoryLine;
  readonly reason: string | null;
  readonly product_id: string | null;
  readonly step_key: string | null;
  readonly fencing_token: string | null;
  readonly return_id: string | null;
}
