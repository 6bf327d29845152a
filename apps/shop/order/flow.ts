import type { CancelReason, OrderStage, OrderStatus } from "../contracts/http/orders.ts";

/** The events of other services that move a choreographed checkout. */
export type FlowEvent =
  | "payment.completed"
  | "payment.failed"
  | "payment.refunded"
  | "stock.reserved"
  | "stock.reservation-failed"
  | "stock.released"
  | "delivery.started"
  | "delivery.failed";

/** What one event says about a checkout, whatever else has arrived. */
export interface FlowRule {
  /** How far the checkout must have come for it to be sent at all. */
  readonly reached: OrderStage;
  /** On the way to completion, completed, or on the way back. */
  readonly leadsTo: Extract<OrderStatus, "PROCESSING" | "COMPLETED" | "CANCELING">;
}

/**
 * What each event says of the order. Each implies those before it, because topics are not ordered among
 * themselves: `stock.reserved` may come before the `payment.completed` that caused it.
 */
export const flowRules: Readonly<Record<FlowEvent, FlowRule>> = {
  "payment.completed": { reached: "PAYMENT_CHARGED", leadsTo: "PROCESSING" },
  "stock.reserved": { reached: "STOCK_RESERVED", leadsTo: "PROCESSING" },
  "delivery.started": { reached: "DELIVERY_STARTED", leadsTo: "COMPLETED" },
  "payment.failed": { reached: "ACCEPTED", leadsTo: "CANCELING" },
  "stock.reservation-failed": {
    reached: "PAYMENT_CHARGED",
    leadsTo: "CANCELING",
  },
  "delivery.failed": { reached: "STOCK_RESERVED", leadsTo: "CANCELING" },
  "payment.refunded": { reached: "PAYMENT_CHARGED", leadsTo: "CANCELING" },
  "stock.released": { reached: "STOCK_RESERVED", leadsTo: "CANCELING" },
};

/** The stages of a choreographed checkout in their order. */
export const flowStages: readonly OrderStage[] = [
  "ACCEPTED",
  "PAYMENT_CHARGED",
  "STOCK_RESERVED",
  "DELIVERY_STARTED",
];

/** What has been heard of one checkout: each event once, with its reason where it carries one. */
export type FlowFacts = ReadonlyMap<FlowEvent, CancelReason | undefined>;
