import { event, FlowOverdue, SagaClosed, SagaParked } from "dure";
import type { AnyEventDefinition } from "dure";
import { z } from "zod";

/** Why an order was canceled: what customers and operators read. */
export const cancelReasons = [
  "OUT_OF_STOCK",
  "HELD_BY_ANOTHER_ORDER",
  "UNKNOWN_PRODUCT",
  "PAYMENT_DECLINED",
  "INSUFFICIENT_FUNDS",
  "PROVIDER_UNAVAILABLE",
  "DELIVERY_REFUSED",
  "CANCELED_BY_USER",
  "TIMED_OUT",
] as const;

/** A member of {@link cancelReasons}. */
export type CancelReason = (typeof cancelReasons)[number];

const reason = z.enum(cancelReasons);
const amount = z.int().min(1).max(Number.MAX_SAFE_INTEGER);
const items = z.array(
  z.object({ productId: z.string(), quantity: z.int().min(1), unitPrice: z.int().min(1) }),
);

/** What every event of a choreographed checkout says of itself. */
const checkout = { orderId: z.string(), sagaId: z.string() };
const byOrder = (data: { readonly orderId: string }): string => data.orderId;

/** The order was accepted; in mode choreography, payment charges it next. */
export const OrderCreated = event("order.created", {
  version: 1,
  schema: z.object({
    ...checkout,
    userId: z.string(),
    amount,
    currency: z.string(),
    items,
    payment: z.object({ method: z.literal("CARD"), token: z.string() }),
  }),
  key: byOrder,
});

/** Everything was done. */
export const OrderCompleted = event("order.completed", {
  version: 1,
  schema: z.object({ ...checkout, userId: z.string(), amount, currency: z.string() }),
  key: byOrder,
});

/** Everything was undone. */
export const OrderCanceled = event("order.canceled", {
  version: 1,
  schema: z.object({ ...checkout, userId: z.string(), amount, currency: z.string(), reason }),
  key: byOrder,
});

/** The card was charged. Carries what the next services need, so that none has to wait for another topic. */
export const PaymentCompleted = event("payment.completed", {
  version: 1,
  schema: z.object({ ...checkout, userId: z.string(), paymentId: z.string(), amount, items }),
  key: byOrder,
});

/** The card was refused, or the provider could not be had and nothing is charged: the order ends. */
export const PaymentFailed = event("payment.failed", {
  version: 1,
  schema: z.object({ ...checkout, reason }),
  key: byOrder,
});

/** The money is back, for the given reason. */
export const PaymentRefunded = event("payment.refunded", {
  version: 1,
  schema: z.object({ ...checkout, amount, reason }),
  key: byOrder,
});

/** All items are set aside for the order. */
export const StockReserved = event("stock.reserved", {
  version: 1,
  schema: z.object({ ...checkout, userId: z.string() }),
  key: byOrder,
});

/** At least one item could not be set aside: nothing is. */
export const StockReservationFailed = event("stock.reservation-failed", {
  version: 1,
  schema: z.object({ ...checkout, reason, productId: z.string() }),
  key: byOrder,
});

/** What was set aside is available again. */
export const StockReleased = event("stock.released", {
  version: 1,
  schema: z.object({ ...checkout, reason }),
  key: byOrder,
});

/** The saga held its pieces for too long: they are available again, and a confirmation is refused. */
export const StockReservationExpired = event("stock.reservation-expired", {
  version: 1,
  schema: z.object(checkout),
  key: byOrder,
});

/**
 * The quantities of these products changed; caches drop what they have of them. On a topic of its own:
 * the services of the checkout need not read past it. Its order matters to nobody.
 */
export const StockChanged = event("stock.changed", {
  version: 1,
  topic: "product",
  schema: z.object({ productIds: z.array(z.string()).min(1) }),
  key: (data) => data.productIds[0] ?? "",
});

/** The goods are on their way. */
export const DeliveryStarted = event("delivery.started", {
  version: 1,
  schema: z.object({ ...checkout, deliveryId: z.string() }),
  key: byOrder,
});

/** Delivery refuses for good: stock and money go back. */
export const DeliveryFailed = event("delivery.failed", {
  version: 1,
  schema: z.object({ ...checkout, reason }),
  key: byOrder,
});

/** Every event of the shop: a message of another type is a dead letter. */
export const shopEvents: readonly AnyEventDefinition[] = [
  OrderCreated,
  OrderCompleted,
  OrderCanceled,
  PaymentCompleted,
  PaymentFailed,
  PaymentRefunded,
  StockReserved,
  StockReservationFailed,
  StockReleased,
  StockReservationExpired,
  StockChanged,
  DeliveryStarted,
  DeliveryFailed,
  // The library's own, of sagas that wait for a person, end without their steps, or wait for a service too long.
  SagaParked,
  SagaClosed,
  FlowOverdue,
];
