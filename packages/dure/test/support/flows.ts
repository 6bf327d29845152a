/** The choreographed checkout of the shop, for the tests of flows. */
import { z } from "zod";
import { event, flow } from "../../src/index.ts";
import type { EventDefinition, FlowDefinition } from "../../src/index.ts";

/** What every event of it says. */
export interface CheckoutData {
  readonly orderId: string;
  readonly sagaId: string;
  readonly reason?: string | undefined;
}

const schema = z.object({
  orderId: z.string(),
  sagaId: z.string(),
  reason: z.string().optional(),
});

/** Its events, by type. */
export const facts = {
  created: fact("order.created"),
  cancelRequested: fact("order.cancel-requested"),
  paid: fact("payment.completed"),
  declined: fact("payment.failed"),
  refunded: fact("payment.refunded"),
  reserved: fact("stock.reserved"),
  outOfStock: fact("stock.reservation-failed"),
  released: fact("stock.released"),
  delivered: fact("delivery.started"),
  refused: fact("delivery.failed"),
} as const;

/** How long each service may take, in milliseconds. */
export interface CheckoutTimes {
  readonly payment?: number;
  readonly stock?: number;
  readonly delivery?: number;
}

/** The checkout with other times or another version. */
export function checkoutWithin(times: CheckoutTimes, version = 1): FlowDefinition {
  return flow("checkout-choreographed", {
    version,
    start: facts.created,
    sagaId: (data: { readonly sagaId: string }) => data.sagaId,
    reason: (data: { readonly reason?: string | undefined }) => data.reason,
    key: ({ orderId }) => orderId,
  })
    .step("payment", {
      service: "payment",
      after: facts.created,
      done: facts.paid,
      refused: facts.declined,
      undone: facts.refunded,
      withinMs: times.payment ?? 60_000,
    })
    .step("stock", {
      service: "inventory",
      after: facts.paid,
      done: facts.reserved,
      refused: facts.outOfStock,
      undone: facts.released,
      withinMs: times.stock ?? 60_000,
    })
    .step("delivery", {
      service: "delivery",
      after: facts.reserved,
      done: facts.delivered,
      refused: facts.refused,
      withinMs: times.delivery ?? 120_000,
    })
    .turnedBy(facts.cancelRequested)
    .completedBy(facts.delivered);
}

export const checkout: FlowDefinition = checkoutWithin({});

function fact(type: string): EventDefinition<CheckoutData> {
  return event<CheckoutData, CheckoutData>(type, {
    version: 1,
    schema,
    key: (data) => data.orderId,
  });
}
