import { z } from "zod";
import {
  amountSchema,
  currencySchema,
  instantSchema,
  orderIdSchema,
  productIdSchema,
  quantitySchema,
  sagaIdSchema,
  unitPriceSchema,
  userIdSchema,
} from "./fields.ts";
import { cardTokenSchema } from "./provider.ts";
import type { CardToken } from "./provider.ts";
import { limitSchema } from "./query.ts";

/** How an order's checkout is driven. */
export type CheckoutMode = "orchestration" | "choreography";

/** How the money is taken: held first and captured later, or charged at once. */
export type PaymentFlow = "two-phase" | "one-phase";

/** Where an order stands. */
export type OrderStatus =
  | "PENDING"
  | "PROCESSING"
  | "COMPLETED"
  | "CANCELING"
  | "CANCELED"
  | "NEEDS_ATTENTION";

/** How far the checkout came. */
export type OrderStage =
  | "ACCEPTED"
  | "STOCK_RESERVED"
  | "PAYMENT_AUTHORIZED"
  | "PAYMENT_CAPTURED"
  | "PAYMENT_CHARGED"
  | "DELIVERY_STARTED";

/** Why an order was canceled. */
export type CancelReason =
  | "OUT_OF_STOCK"
  | "HELD_BY_ANOTHER_ORDER"
  | "UNKNOWN_PRODUCT"
  | "PAYMENT_DECLINED"
  | "INSUFFICIENT_FUNDS"
  | "PROVIDER_UNAVAILABLE"
  | "DELIVERY_REFUSED"
  | "CANCELED_BY_USER"
  | "TIMED_OUT";

const modeSchema = z.enum(["orchestration", "choreography"]);

const flowSchema = z.enum(["two-phase", "one-phase"]);

/** The status of an order, in answers and as a filter. */
export const orderStatusSchema: z.ZodType<OrderStatus> = z.enum([
  "PENDING",
  "PROCESSING",
  "COMPLETED",
  "CANCELING",
  "CANCELED",
  "NEEDS_ATTENTION",
]);

const stageSchema: z.ZodType<OrderStage> = z.enum([
  "ACCEPTED",
  "STOCK_RESERVED",
  "PAYMENT_AUTHORIZED",
  "PAYMENT_CAPTURED",
  "PAYMENT_CHARGED",
  "DELIVERY_STARTED",
]);

const reasonSchema: z.ZodType<CancelReason> = z.enum([
  "OUT_OF_STOCK",
  "HELD_BY_ANOTHER_ORDER",
  "UNKNOWN_PRODUCT",
  "PAYMENT_DECLINED",
  "INSUFFICIENT_FUNDS",
  "PROVIDER_UNAVAILABLE",
  "DELIVERY_REFUSED",
  "CANCELED_BY_USER",
  "TIMED_OUT",
]);

/** One line of an order. A product may stand on several lines, at different prices. */
export interface OrderItem {
  readonly productId: string;
  readonly quantity: number;
  readonly unitPrice: number;
}

const itemSchema: z.ZodType<OrderItem> = z.strictObject({
  productId: productIdSchema,
  quantity: quantitySchema,
  unitPrice: unitPriceSchema,
});

/** `POST /orders`. The amount is the service's to compute. */
export interface NewOrder {
  readonly items: readonly OrderItem[];
  readonly currency: "GBP";
  readonly mode?: CheckoutMode | undefined;
  readonly payment?:
    | {
        readonly method: "CARD";
        readonly token: CardToken;
        readonly flow?: PaymentFlow | undefined;
      }
    | undefined;
}

/** The body of `POST /orders`. */
export const newOrderSchema: z.ZodType<NewOrder> = z.strictObject({
  items: z.array(itemSchema).min(1).max(1000),
  currency: currencySchema,
  mode: modeSchema.optional(),
  payment: z
    .strictObject({
      method: z.literal("CARD"),
      token: cardTokenSchema,
      flow: flowSchema.optional(),
    })
    .optional(),
});

/** The answer of `POST /orders`, with status 201 and `Location`. */
export interface AcceptedOrder {
  readonly orderId: string;
  readonly status: "PENDING";
  readonly amount: number;
  readonly mode: CheckoutMode;
  readonly sagaId: string;
}

/** The body of the 201. */
export const acceptedOrderSchema: z.ZodType<AcceptedOrder> = z.strictObject({
  orderId: orderIdSchema,
  status: z.literal("PENDING"),
  amount: amountSchema,
  mode: modeSchema,
  sagaId: sagaIdSchema,
});

/** One change of an order's status or stage. */
export interface OrderHistoryEntry {
  readonly status: OrderStatus;
  readonly stage?: OrderStage | undefined;
  readonly at: string;
  readonly reason?: CancelReason | undefined;
}

/** `GET /orders/{orderId}`. */
export interface OrderView {
  readonly orderId: string;
  readonly userId: string;
  readonly status: OrderStatus;
  readonly stage: OrderStage;
  readonly amount: number;
  readonly currency: "GBP";
  readonly items: readonly OrderItem[];
  readonly mode: CheckoutMode;
  readonly sagaId: string;
  readonly reason?: CancelReason | undefined;
  readonly history: readonly OrderHistoryEntry[];
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** An order as its owner sees it. */
export const orderViewSchema: z.ZodType<OrderView> = z.strictObject({
  orderId: orderIdSchema,
  userId: userIdSchema,
  status: orderStatusSchema,
  stage: stageSchema,
  amount: amountSchema,
  currency: currencySchema,
  items: z.array(itemSchema).readonly(),
  mode: modeSchema,
  sagaId: sagaIdSchema,
  reason: reasonSchema.optional(),
  history: z
    .array(
      z.strictObject({
        status: orderStatusSchema,
        stage: stageSchema.optional(),
        at: instantSchema,
        reason: reasonSchema.optional(),
      }),
    )
    .readonly(),
  createdAt: instantSchema,
  updatedAt: instantSchema,
});

/** The filters of `GET /orders`. */
export interface OrderQuery {
  readonly status?: OrderStatus | undefined;
  readonly userId?: string | undefined;
  /** `nextCursor` of the page before. */
  readonly cursor?: string | undefined;
  readonly limit?: number | undefined;
}

/** A cursor tells its reader nothing; it is only handed back. */
const cursorSchema = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[A-Za-z0-9_-]+$/);

/** The query of `GET /orders`. */
export const orderQuerySchema: z.ZodType<OrderQuery> = z.strictObject({
  status: orderStatusSchema.optional(),
  userId: userIdSchema.optional(),
  cursor: cursorSchema.optional(),
  limit: limitSchema.optional(),
});

/** The answer of `GET /orders`, newest first. */
export const orderPageSchema: z.ZodType<{
  readonly orders: readonly OrderView[];
  readonly nextCursor?: string | undefined;
}> = z.strictObject({
  orders: z.array(orderViewSchema).readonly(),
  nextCursor: cursorSchema.optional(),
});

/** The path of everything about one order. */
export const orderParamsSchema: z.ZodType<{ readonly orderId: string }> = z.strictObject({
  orderId: orderIdSchema,
});

/** The body of `POST /orders/{orderId}/cancel`: there is nothing to say. */
export const cancelSchema: z.ZodType<Record<string, never> | undefined> = z
  .strictObject({})
  .optional();
