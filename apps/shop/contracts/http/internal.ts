import { z } from "zod";

/** Pages by order (or product) id: `after` is the last id of the page before. Between services, with a service token. */
export const PageQuery = z.strictObject({
  after: z.string().max(128).optional(),
  limit: z.coerce.number().int().min(1).max(5_000).optional(),
});

/** One thing that happened to an order in one service. */
export const TimelineEntry = z.object({
  at: z.iso.datetime(),
  service: z.string(),
  kind: z.enum([
    "request",
    "event",
    "step",
    "compensation",
    "payment",
    "stock",
    "delivery",
    "notification",
    "status",
  ]),
  what: z.string(),
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
});

/** `GET /internal/timeline/:orderId` of every service. */
export const TimelinePart = z.object({ entries: z.array(TimelineEntry) });

/** Nothing, in the answer of an instance that does not know the figure yet. */
const movedSchema = z.int().default(0);

/**
 * `GET /internal/payments` of payment. The status says where the money stands that was taken: held
 * money is PROCESSING, held money that was let go of FAILED, and REFUNDED is only what went back in
 * full. The other figures are what the provider has acknowledged; captured + charged − refunded is
 * what the customer has paid in the end.
 */
export const PaymentsPage = z.object({
  payments: z.array(
    z.object({
      orderId: z.string(),
      amount: z.int(),
      refunded: z.int(),
      authorized: movedSchema,
      captured: movedSchema,
      charged: movedSchema,
      voided: movedSchema,
      status: z.enum(["PROCESSING", "COMPLETED", "FAILED", "REFUNDING", "REFUNDED"]),
    }),
  ),
  next: z.string().optional(),
});

/** `GET /internal/stock` of inventory: products, paged by product id. `adjusted` is the sum of the journal. */
export const StockPage = z.object({
  products: z.array(
    z.object({
      productId: z.string(),
      available: z.int(),
      reserved: z.int(),
      sold: z.int(),
      adjusted: z.int(),
    }),
  ),
  next: z.string().optional(),
});

/**
 * `GET /internal/reservations` of inventory, paged by order id; one row per order and product. Of
 * `quantity` sold pieces `restocked` came back; when all of them have, the row is RELEASED.
 */
export const ReservationsPage = z.object({
  reservations: z.array(
    z.object({
      orderId: z.string(),
      productId: z.string(),
      quantity: z.int(),
      restocked: movedSchema,
      status: z.enum(["RESERVED", "CONFIRMED", "RELEASED"]),
    }),
  ),
  next: z.string().optional(),
});

/** `GET /internal/deliveries` of delivery. */
export const DeliveriesPage = z.object({
  deliveries: z.array(
    z.object({ orderId: z.string(), status: z.enum(["STARTED", "REFUSED", "STOPPED"]) }),
  ),
  next: z.string().optional(),
});
