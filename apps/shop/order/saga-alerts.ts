import { SagaClosed, SagaParked } from "dure";
import type { SagaClosedData } from "dure";
import type { ServiceDure } from "../chassis/messaging.ts";
import type { CheckoutOptions } from "./checkout.ts";
import * as checkoutSql from "./checkout-sql.ts";
import { cancelReasonOf, isLegal, wayByHand } from "./domain.ts";
import { lockKnownOrder, moveOrder } from "./order-moves.ts";
import type { OrderTransaction } from "./order-moves.ts";
import * as sql from "./return-sql.ts";

/**
 * Shows on the order, or on the return, that its saga waits for a person, and how it ended where none of its
 * steps could: an operator resolved it, or it was undone before it had begun. When a parked saga is resumed
 * its steps move the order on: from NEEDS_ATTENTION they go where they would have gone.
 */
export function registerSagaAlerts(dure: ServiceDure, options: CheckoutOptions): void {
  const { logger } = options;
  dure.on(SagaParked, { whenPoisoned: "skip" }, async ({ data }, tx) => {
    const { sagaId, status, step, code } = data;
    logger.error({ sagaId, status, step, code }, "a saga waits for a person");
    await tx.client.query(sql.parkReturn, [sagaId]);
    const orderId = await orderOf(tx, sagaId);
    if (orderId === undefined) return;
    const order = await lockKnownOrder(tx, orderId);
    // Resumed, or resolved, before this was heard. Read under the order's lock: a step that resumes it later
    // comes after this.
    const { rows } = await tx.client.query<{ is_parked: boolean }>(checkoutSql.isParked, [sagaId]);
    if (rows[0]?.is_parked !== true) return;
    if (isLegal(order.status, "NEEDS_ATTENTION")) {
      await moveOrder(tx, order, { path: ["NEEDS_ATTENTION"] });
    }
  });
  dure.on(SagaClosed, { whenPoisoned: "skip" }, async ({ data }, tx) => {
    const { sagaId, status, code, actor } = data;
    logger.info({ sagaId, status, code, actor }, "a saga has ended without its steps");
    // Of goods that are not taken back after all nobody but a person can say what becomes of them.
    await tx.client.query(status === "COMPLETED" ? sql.closeReturn : sql.strandReturn, [sagaId]);
    await endOrder(tx, data, options);
  });
}

async function endOrder(
  tx: OrderTransaction,
  { sagaId, status, code, error }: SagaClosedData,
  { onCompleted }: CheckoutOptions,
): Promise<void> {
  const orderId = await orderOf(tx, sagaId);
  if (orderId === undefined) return;
  const order = await lockKnownOrder(tx, orderId);
  const isCheckout = order.saga_id === sagaId;
  // One that undoes a completed order leaves it as it was if it is undone itself, and it may be asked for again.
  const end = isCheckout === (status === "COMPLETED") ? "COMPLETED" : "CANCELED";
  if (!isCheckout && end === "COMPLETED") await tx.client.query(sql.dropCancellation, [sagaId]);
  const path = wayByHand(order.status, end);
  if (path === undefined || path.length === 0) return;
  if (end === "CANCELED") {
    const reason = order.reason ?? cancelReasonOf({ code, error });
    await moveOrder(tx, order, { path, reason });
    return;
  }
  const moved = await moveOrder(tx, order, { path, reason: null });
  if (isCheckout) await onCompleted(tx, moved);
}

async function orderOf(tx: OrderTransaction, sagaId: string): Promise<string | undefined> {
  const { rows } = await tx.client.query<{ order_id: string }>(sql.findOrderOfSaga, [sagaId]);
  return rows[0]?.order_id;
}
