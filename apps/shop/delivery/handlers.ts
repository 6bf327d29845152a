import { newId } from "dure";
import type { ServiceDure } from "../chassis/messaging.ts";
import { StockReserved } from "../contracts/events.ts";
import { insertDelivery } from "./delivery-sql.ts";
import { startKey } from "./domain.ts";

/**
 * Delivery's part in a choreographed checkout: the inbox transaction only notes that there is
 * something to deliver. The carrier is asked later, without a transaction.
 */
export function registerHandlers(dure: ServiceDure, onPending: () => void): void {
  dure.on(StockReserved, {}, async (message, tx) => {
    const { orderId, sagaId, userId } = message.data;
    await tx.query(insertDelivery, [
      orderId,
      `DEL-${newId()}`,
      sagaId,
      userId,
      startKey(sagaId),
      message.correlationId ?? message.id,
      message.id,
      message.traceparent ?? null,
      message.tracestate ?? null,
    ]);
    onPending();
  });
}
