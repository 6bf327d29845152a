import type { Pool, PoolClient } from "pg";
import { ProblemError } from "../chassis/problem.ts";
import type {
  CancelReason,
  CheckoutMode,
  OrderHistoryEntry,
  OrderItem,
  OrderQuery,
  OrderStage,
  OrderStatus,
  OrderView,
} from "../contracts/http/orders.ts";
import * as sql from "./order-sql.ts";

/** Whose orders may be seen; undefined sees all. */
export type Owner = string | undefined;

/** A page of orders, newest first. */
export interface OrderPage {
  readonly orders: readonly OrderView[];
  readonly nextCursor?: string;
}

const limitDefault = 50;

/** An answer of a thousand orders with a thousand lines each would be far too large. */
const linesMax = 50_000;

/**
 * One order.
 * @throws ProblemError NOT_FOUND also when it belongs to someone else
 */
export async function readOrder(
  database: Pool | PoolClient,
  orderId: string,
  owner: Owner,
): Promise<OrderView> {
  const { rows } = await database.query<OrderRow>(sql.readOrder, [orderId]);
  const [row] = rows;
  if (row === undefined || (owner !== undefined && row.user_id !== owner)) {
    throw new ProblemError("NOT_FOUND", "There is no such order.");
  }
  const [view] = await viewsOf(database, [row]);
  if (view === undefined) throw new Error(`order ${orderId} was read but not shown`);
  return view;
}

/**
 * A page of the orders that fit the filters. It may be shorter than the limit although more follow.
 * @throws ProblemError VALIDATION_FAILED for a cursor that is none of ours
 */
export async function listOrders(pool: Pool, query: OrderQuery, owner: Owner): Promise<OrderPage> {
  const limit = query.limit ?? limitDefault;
  const before = query.cursor === undefined ? null : readCursor(query.cursor);
  const { rows } = await pool.query<OrderRow>(sql.listOrders, [
    owner ?? null,
    query.userId ?? null,
    query.status ?? null,
    before,
    limit + 1,
  ]);
  const page = cutAtLines(rows.slice(0, limit));
  const orders = await viewsOf(pool, page);
  const last = page.at(-1);
  if (last === undefined || page.length === rows.length) return { orders };
  return { orders, nextCursor: toCursor(last.number) };
}

function cutAtLines(rows: readonly OrderRow[]): readonly OrderRow[] {
  let lines = 0;
  const end = rows.findIndex((row, at) => (lines += row.line_count) > linesMax && at > 0);
  return end < 0 ? rows : rows.slice(0, end);
}

async function viewsOf(
  database: Pool | PoolClient,
  rows: readonly OrderRow[],
): Promise<readonly OrderView[]> {
  const ids = rows.map((row) => row.id);
  // One after the other: in a transaction there is one connection.
  const items = await database.query<ItemRow>(sql.listItems, [ids]);
  const history = await database.query<HistoryRow>(sql.listHistory, [ids]);
  const itemsOf = Map.groupBy(items.rows, (row) => row.order_id);
  const historyOf = Map.groupBy(history.rows, (row) => row.order_id);
  return rows.map((row) => ({
    orderId: row.id,
    userId: row.user_id,
    status: row.status,
    stage: row.stage,
    amount: Number(row.amount),
    currency: row.currency,
    items: (itemsOf.get(row.id) ?? []).map(toItem),
    mode: row.mode,
    sagaId: row.saga_id,
    ...(row.reason === null ? {} : { reason: row.reason }),
    history: (historyOf.get(row.id) ?? []).map(toHistory),
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }));
}

function toItem(row: ItemRow): OrderItem {
  return {
    productId: row.product_id,
    quantity: row.quantity,
    unitPrice: Number(row.unit_price),
  };
}

function toHistory(row: HistoryRow): OrderHistoryEntry {
  return {
    status: row.status,
    stage: row.stage,
    at: row.created_at.toISOString(),
    ...(row.reason === null ? {} : { reason: row.reason }),
  };
}

/** The number of the last order seen; the reader is not to know. */
function toCursor(number: string): string {
  return Buffer.from(`o${number}`).toString("base64url");
}

function readCursor(cursor: string): string {
  const number = /^o([1-9]\d{0,17})$/.exec(Buffer.from(cursor, "base64url").toString())?.[1];
  // Decoding forgives what encoding never writes; a cursor comes back as it was given.
  if (number !== undefined && toCursor(number) === cursor) return number;
  const errors = [{ path: "cursor", message: "Send the nextCursor of the page before" }];
  throw new ProblemError("VALIDATION_FAILED", "The query is not valid.", { errors });
}

interface OrderRow {
  readonly id: string;
  readonly number: string;
  readonly user_id: string;
  readonly amount: string;
  readonly currency: "GBP";
  readonly mode: CheckoutMode;
  readonly status: OrderStatus;
  readonly stage: OrderStage;
  readonly reason: CancelReason | null;
  readonly saga_id: string;
  readonly line_count: number;
  readonly created_at: Date;
  readonly updated_at: Date;
}

interface ItemRow {
  readonly order_id: string;
  readonly product_id: string;
  readonly quantity: number;
  readonly unit_price: string;
}

interface HistoryRow {
  readonly order_id: string;
  readonly status: OrderStatus;
  readonly stage: OrderStage;
  readonly reason: CancelReason | null;
  readonly created_at: Date;
}
