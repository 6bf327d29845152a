import type { CancelReason, OrderStage, OrderStatus } from "../contracts/http/orders.ts";

/** The services that a choreographed checkout may have to wait for. */
export type FlowService = "payment" | "inventory" | "delivery";

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
  /** Who sends it. */
  readonly from: FlowService;
  /** How far the checkout must have come for it to be sent at all. */
  readonly reached: OrderStage;
  /** On the way to completion, completed, or on the way back. */
  readonly leadsTo: Extract<OrderStatus, "PROCESSING" | "COMPLETED" | "CANCELING">;
}

/**
 * The choreographed checkout as data. Each event implies those before it, because topics are not
 * ordered among themselves: `stock.reserved` may come before the `payment.completed` that caused it.
 */
export const checkoutFlow: Readonly<Record<FlowEvent, FlowRule>> = {
  "payment.completed": { from: "payment", reached: "PAYMENT_CHARGED", leadsTo: "PROCESSING" },
  "stock.reserved": { from: "inventory", reached: "STOCK_RESERVED", leadsTo: "PROCESSING" },
  "delivery.started": { from: "delivery", reached: "DELIVERY_STARTED", leadsTo: "COMPLETED" },
  "payment.failed": { from: "payment", reached: "ACCEPTED", leadsTo: "CANCELING" },
  "stock.reservation-failed": {
    from: "inventory",
    reached: "PAYMENT_CHARGED",
    leadsTo: "CANCELING",
  },
  "delivery.failed": { from: "delivery", reached: "STOCK_RESERVED", leadsTo: "CANCELING" },
  "payment.refunded": { from: "payment", reached: "PAYMENT_CHARGED", leadsTo: "CANCELING" },
  "stock.released": { from: "inventory", reached: "STOCK_RESERVED", leadsTo: "CANCELING" },
};

/** The stages of a choreographed checkout in their order, each with the service whose turn is next. */
export const flowStages: readonly { readonly stage: OrderStage; readonly next?: FlowService }[] = [
  { stage: "ACCEPTED", next: "payment" },
  { stage: "PAYMENT_CHARGED", next: "inventory" },
  { stage: "STOCK_RESERVED", next: "delivery" },
  { stage: "DELIVERY_STARTED" },
];

/** What has been heard of one checkout: each event once, with its reason where it carries one. */
export type FlowFacts = ReadonlyMap<FlowEvent, CancelReason | undefined>;
