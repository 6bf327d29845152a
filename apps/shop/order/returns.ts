import type { Pool } from "pg";
import { ulid } from "ulid";
import type { ServiceDure } from "../chassis/messaging.ts";
import { ProblemError } from "../chassis/problem.ts";
import { amountMax } from "../contracts/http/fields.ts";
import type { NewReturn, ReturnStatus, ReturnView } from "../contracts/http/returns.ts";
import { allocate } from "./domain-returns.ts";
import type { Allocation, Purchase } from "./domain-returns.ts";
import type { OrderTransaction } from "./order-moves.ts";
import type { OrderSagas } from "./order-sagas.ts";
import type { Owner } from "./orders.ts";
import * as sql from "./return-sql.ts";

/** What taking goods back needs. */
export interface ReturnOptions {
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly sagas: OrderSagas;
}

/** Goods that come back. */
export interface ReturnRequest {
  readonly body: NewReturn;
  readonly traceparent: string;
}

/** The answer to a return that is accepted. */
export interface AcceptedReturn {
  readonly returnId: string;
  readonly status: ReturnStatus;
  readonly refund: number;
}

/**
 * Takes goods back against the customer's own purchases, in the transaction of the request: which purchases,
 * what is refunded, and the saga that does it commit together.
 *
 * @throws ProblemError NO_MATCHING_PURCHASE naming the lines, AMOUNT_TOO_LARGE; nothing is written then
 */
export async function takeBack(
  tx: OrderTransaction,
  { sagas }: Pick<ReturnOptions, "sagas">,
  { body, traceparent }: ReturnRequest,
): Promise<AcceptedReturn> {
  const { shares, refund } = await cover(tx, body);
  const returnId = `RET-${ulid()}`;
  const sagaId = `SAGA-${ulid()}`;
  await tx.client.query(sql.insertReturn, [returnId, body.userId, refund, sagaId]);
  await tx.client.query(sql.insertReturnItems, [
    returnId,
    body.items.map((item) => item.productId),
    body.items.map((item) => item.quantity),
    body.items.map((item) => item.unitPrice ?? null),
  ]);
  await tx.client.query(sql.insertAllocations, [
    returnId,
    shares.map((share) => share.orderId),
    shares.map((share) => share.line),
    shares.map((share) => share.productId),
    shares.map((share) => share.quantity),
    shares.map((share) => share.unitPrice),
  ]);
  await sagas.startReturn(tx, { sagaId, returnId, traceparent });
  return { returnId, status: "PENDING", refund };
}

/**
 * One return.
 *
 * @throws ProblemError NOT_FOUND also when it belongs to someone else
 */
export async function readReturn(pool: Pool, returnId: string, owner: Owner): Promise<ReturnView> {
  const { rows } = await pool.query<ReturnRow>(sql.readReturn, [returnId]);
  const [row] = rows;
  if (row === undefined || (owner !== undefined && row.user_id !== owner)) {
    throw new ProblemError("NOT_FOUND", "There is no such return.");
  }
  return {
    returnId: row.id,
    userId: row.user_id,
    status: row.status,
    refund: Number(row.refund),
    items: row.items.map(([productId, quantity, unitPrice]) => ({
      productId,
      quantity,
      ...(unitPrice === null ? {} : { unitPrice }),
    })),
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}

type Covered = Extract<Allocation, { readonly kind: "covered" }>;

async function cover(tx: OrderTransaction, { userId, items }: NewReturn): Promise<Covered> {
  await tx.client.query(sql.lockCustomer, [`return ${userId}`]);
  const productIds = [...new Set(items.map((item) => item.productId))];
  const { rows } = await tx.client.query<PurchaseRow>(sql.listPurchases, [userId, productIds]);
  const allocation = allocate(items, rows.map(purchaseOf));
  if (allocation.kind === "uncovered") throw uncovered(allocation.lines);
  if (allocation.refund > amountMax) {
    throw new ProblemError("AMOUNT_TOO_LARGE", `A refund may come to ${amountMax} at most.`);
  }
  return allocation;
}

function uncovered(lines: readonly number[]): ProblemError {
  const message = "Fewer pieces were bought, or are left to be returned";
  const errors = lines.map((at) => ({ path: `items.${at}.quantity`, message }));
  const detail = "Not every line is covered by completed purchases; nothing is returned.";
  return new ProblemError("NO_MATCHING_PURCHASE", detail, { errors });
}

function purchaseOf(row: PurchaseRow): Purchase {
  return {
    orderId: row.order_id,
    line: row.line,
    productId: row.product_id,
    quantity: row.quantity,
    unitPrice: Number(row.unit_price),
  };
}

interface PurchaseRow {
  readonly order_id: string;
  readonly line: number;
  readonly product_id: string;
  readonly quantity: number;
  readonly unit_price: string;
}

interface ReturnRow {
  readonly id: string;
  readonly user_id: string;
  readonly status: ReturnStatus;
  readonly refund: string;
  readonly items: readonly (readonly [string, number, number | null])[];
  readonly created_at: Date;
  readonly updated_at: Date;
}
