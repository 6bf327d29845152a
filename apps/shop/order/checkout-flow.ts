import { flow } from "dure";
import type { FlowDefinition } from "dure";
import {
  DeliveryFailed,
  DeliveryStarted,
  OrderCreated,
  PaymentCompleted,
  PaymentFailed,
  PaymentRefunded,
  StockReleased,
  StockReservationFailed,
  StockReserved,
} from "../contracts/events.ts";

/**
 * The choreographed checkout as the library follows it: a saga instance under the order's saga id, with whom it
 * waits for. It moves nothing; the order hears the same events for itself.
 */
export function choreographedCheckout(withinMs: number): FlowDefinition {
  return flow("checkout-choreographed", {
    version: 1,
    start: OrderCreated,
    sagaId: (data: { readonly sagaId: string }) => data.sagaId,
    reason: (data: { readonly reason?: string | undefined }) => data.reason,
    key: ({ orderId }) => orderId,
  })
    .step("charge-payment", {
      service: "payment",
      after: OrderCreated,
      done: PaymentCompleted,
      refused: PaymentFailed,
      undone: PaymentRefunded,
      withinMs,
    })
    .step("reserve-stock", {
      service: "inventory",
      after: PaymentCompleted,
      done: StockReserved,
      refused: StockReservationFailed,
      undone: StockReleased,
      withinMs,
    })
    .step("start-delivery", {
      service: "delivery",
      after: StockReserved,
      done: DeliveryStarted,
      refused: DeliveryFailed,
      withinMs,
    })
    .completedBy(DeliveryStarted);
}
