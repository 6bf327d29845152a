import type { ServiceTransaction } from "dure";
import type { PoolClient } from "pg";
import { OrderCanceled, OrderCompleted } from "../contracts/events.ts";
import type {
  CancelReason,
  CheckoutMode,
  OrderStage,
  OrderStatus,
} from "../contracts/http/orders.ts";
import * as sql from "./checkout-sql.ts";
import { predecessorsOf } from "./domain.ts";
import { insertHistory } from "./order-sql.ts";

/** An order under its lock. */
export interface LockedOrder {
  readonly id: string;
  readonly user_id: string;
  readonly amount: string;
  readonly currency: string;
  readonly mode: CheckoutMode;
  readonly status: OrderStatus;
  readonly stage: OrderStage;
  readonly reason: CancelReason | null;
  readonly saga_id: string;
}

/** Where an order is to be moved. */
export interface OrderMove {
  /** The statuses to pass, without the present one; none: only stage or reason change. */
  readonly path: readonly OrderStatus[];
  readonly stage?: OrderStage;
  readonly reason?: CancelReason | null;
}

/** A transaction of the order service. */
export type OrderTransaction = ServiceTransaction<PoolClient>;

/** Holds the order until the transaction ends. Undefined: there is no such order. */
export async function lockOrder(
  tx: OrderTransaction,
  orderId: string,
): Promise<LockedOrder | undefined> {
  const { rows } = await tx.client.query<LockedOrder>(sql.lockOrder, [orderId]);
  return rows[0];
}

/** As {@link lockOrder}, for an order that must be there. */
export async function lockKnownOrder(tx: OrderTransaction, orderId: string): Promise<LockedOrder> {
  const order = await lockOrder(tx, orderId);
  if (order === undefined) throw new Error(`order ${orderId} is gone`);
  return order;
}

/** Walks the path, each step guarded and in the history; the ends are told outside. */
export async function moveOrder(
  tx: OrderTransaction,
  order: LockedOrder,
  { path, stage = order.stage, reason = order.reason }: OrderMove,
): Promise<LockedOrder> {
  let moved: LockedOrder = { ...order, stage, reason };
  for (const status of path.length === 0 ? [order.status] : path) {
    const from = status === order.status ? [status] : predecessorsOf(status);
    const values = [order.id, status, stage, reason];
    const { rowCount } = await tx.client.query(sql.moveOrder, [...values, from]);
    // The row is locked and the path legal; if it fails, nothing of this transaction may stay.
    if (rowCount !== 1) throw new Error(`order ${order.id} cannot go to ${status}`);
    await tx.client.query(insertHistory, values);
    moved = { ...moved, status };
  }
  emitEnd(tx, moved);
  return moved;
}

function emitEnd(tx: OrderTransaction, order: LockedOrder): void {
  const { id: orderId, saga_id: sagaId, user_id: userId, currency, reason } = order;
  const data = { orderId, sagaId, userId, amount: Number(order.amount), currency };
  if (order.status === "COMPLETED") tx.emit(OrderCompleted, data);
  if (order.status === "CANCELED" && reason !== null) tx.emit(OrderCanceled, { ...data, reason });
}
