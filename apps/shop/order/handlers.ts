import type { EventDefinition, ReceivedMessage } from "dure";
import type { ServiceDure } from "../chassis/messaging.ts";
import {
  DeliveryFailed,
  DeliveryStarted,
  PaymentCompleted,
  PaymentFailed,
  PaymentRefunded,
  StockReleased,
  StockReservationFailed,
  StockReserved,
} from "../contracts/events.ts";
import type { CancelReason } from "../contracts/http/orders.ts";
import { hear } from "./checkout.ts";
import type { CheckoutOptions, HeardEvent } from "./checkout.ts";
import type { FlowEvent } from "./flow.ts";

/** Lets the order follow its checkout. A message that fails for good holds its own order only. */
export function registerHandlers(dure: ServiceDure, options: CheckoutOptions): void {
  const on = <Input, Data extends CheckoutData>(
    definition: EventDefinition<Input, Data>,
    type: FlowEvent,
  ): void => {
    dure.on(definition, { whenPoisoned: "park-key" }, (message, tx) =>
      hear(tx, heardOf(type, message), options),
    );
  };
  on(PaymentCompleted, "payment.completed");
  on(PaymentFailed, "payment.failed");
  on(PaymentRefunded, "payment.refunded");
  on(StockReserved, "stock.reserved");
  on(StockReservationFailed, "stock.reservation-failed");
  on(StockReleased, "stock.released");
  on(DeliveryStarted, "delivery.started");
  on(DeliveryFailed, "delivery.failed");
}

/** What the events have that the order looks at. */
interface CheckoutData {
  readonly orderId: string;
  readonly reason?: CancelReason | undefined;
  readonly amount?: number | undefined;
  readonly productId?: string | undefined;
  readonly paymentId?: string | undefined;
  readonly deliveryId?: string | undefined;
}

function heardOf(type: FlowEvent, { id, time, data }: ReceivedMessage<CheckoutData>): HeardEvent {
  const { amount, productId, paymentId, deliveryId } = data;
  return {
    type,
    messageId: id,
    at: time,
    orderId: data.orderId,
    ...(data.reason === undefined ? {} : { reason: data.reason }),
    details: {
      ...(amount === undefined ? {} : { amount }),
      ...(productId === undefined ? {} : { productId }),
      ...(paymentId === undefined ? {} : { paymentId }),
      ...(deliveryId === undefined ? {} : { deliveryId }),
    },
  };
}
