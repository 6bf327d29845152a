import { PermanentError } from "dure";
import type { ServiceTransaction } from "dure";
import type { PoolClient } from "pg";
import type { Logger } from "pino";
import { OrderCanceled, OrderCompleted } from "../contracts/events.ts";
import type {
  CancelReason,
  CheckoutMode,
  OrderStage,
  OrderStatus,
} from "../contracts/http/orders.ts";
import { furtherStage, isFinal, pathTo, predecessorsOf, standingOf } from "./domain.ts";
import type { Standing } from "./domain.ts";
import type { FlowEvent, FlowFacts } from "./flow.ts";
import * as sql from "./checkout-sql.ts";
import { insertHistory } from "./order-sql.ts";

/** An event of another service about a checkout. */
export interface HeardEvent {
  readonly type: FlowEvent;
  readonly messageId: string;
  /** When its service wrote it. */
  readonly at: string;
  readonly orderId: string;
  readonly reason?: CancelReason;
  /** What else it says, for the timeline. */
  readonly details: Readonly<Record<string, string | number>>;
}

/** What following a checkout needs. */
export interface CheckoutOptions {
  readonly deadlineMs: number;
  readonly logger: Logger;
}

/**
 * Keeps what was heard and moves the order to where all that was heard puts it. The order of
 * arrival does not matter: the row is locked, the facts decide, and a final status never changes.
 *
 * @throws PermanentError for an order that does not exist: no service can have heard of it
 */
export async function hear(
  tx: ServiceTransaction<PoolClient>,
  event: HeardEvent,
  options: CheckoutOptions,
): Promise<void> {
  const order = await lockOrder(tx, event.orderId);
  const { rowCount } = await tx.client.query(sql.insertEvent, [
    order.saga_id,
    event.type,
    event.reason ?? null,
    JSON.stringify(event.details),
    event.messageId,
    event.at,
  ]);
  if (rowCount === 0 || isFinal(order.status)) return;
  const standing = standingOf(await readFacts(tx, order.saga_id));
  const path = pathTo(order.status, standing.status);
  if (path === undefined) {
    const facts = { orderId: order.id, from: order.status, to: standing.status };
    options.logger.warn({ ...facts, event: event.type }, "illegal transition refused");
    return;
  }
  const moved = await moveOrder(tx, order, standing, path);
  if (moved !== undefined) emitEnd(tx, moved);
  await progressSaga(tx, order.saga_id, standing, options.deadlineMs);
}

type Tx = ServiceTransaction<PoolClient>;

async function lockOrder(tx: Tx, orderId: string): Promise<OrderRow> {
  const { rows } = await tx.client.query<OrderRow>(sql.lockOrder, [orderId]);
  const [order] = rows;
  if (order === undefined) throw new PermanentError(`there is no order ${orderId}`);
  return order;
}

async function readFacts(tx: Tx, sagaId: string): Promise<FlowFacts> {
  const { rows } = await tx.client.query<FactRow>(sql.listEvents, [sagaId]);
  return new Map(rows.map((row) => [row.type, row.reason ?? undefined]));
}

/** Walks the path, each step guarded and in the history. Returns the order if anything changed. */
async function moveOrder(
  tx: Tx,
  order: OrderRow,
  standing: Standing,
  path: readonly OrderStatus[],
): Promise<OrderRow | undefined> {
  const stage = furtherStage(order.mode, order.stage, standing.stage);
  const reason = order.reason ?? standing.reason ?? null;
  if (path.length === 0 && stage === order.stage && reason === order.reason) return undefined;
  let moved: OrderRow = { ...order, stage, reason };
  for (const status of path.length === 0 ? [order.status] : path) {
    const from = status === order.status ? [status] : predecessorsOf(status);
    const values = [order.id, status, stage, reason];
    const { rowCount } = await tx.client.query(sql.moveOrder, [...values, from]);
    // The row is locked and the path legal; if it fails, nothing of this transaction may stay.
    if (rowCount !== 1) throw new Error(`order ${order.id} cannot go to ${status}`);
    await tx.client.query(insertHistory, values);
    moved = { ...moved, status };
  }
  return moved;
}

function emitEnd(tx: Tx, order: OrderRow): void {
  const { id: orderId, saga_id: sagaId, user_id: userId, currency, reason } = order;
  const data = { orderId, sagaId, userId, amount: Number(order.amount), currency };
  if (order.status === "COMPLETED") tx.emit(OrderCompleted, data);
  if (order.status === "CANCELED" && reason !== null) tx.emit(OrderCanceled, { ...data, reason });
}

async function progressSaga(
  tx: Tx,
  sagaId: string,
  { status, waitingFor }: Standing,
  deadlineMs: number,
): Promise<void> {
  const waits = waitingFor.length === 0 ? null : waitingFor.join(",");
  await tx.client.query(sql.progressSaga, [sagaId, sagaStates[status], waits, deadlineMs]);
}

const sagaStates: Readonly<Record<OrderStatus, string>> = {
  PENDING: "RUNNING",
  PROCESSING: "RUNNING",
  COMPLETED: "COMPLETED",
  CANCELING: "COMPENSATING",
  CANCELED: "COMPENSATED",
  NEEDS_ATTENTION: "COMPENSATING",
};

interface OrderRow {
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

interface FactRow {
  readonly type: FlowEvent;
  readonly reason: CancelReason | null;
}
