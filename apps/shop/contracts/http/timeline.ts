import { z } from "zod";
import { instantSchema, orderIdSchema } from "./fields.ts";

/** What sort of thing happened. */
export type TimelineKind =
  | "request"
  | "event"
  | "step"
  | "compensation"
  | "payment"
  | "stock"
  | "delivery"
  | "notification";

/** One thing that happened to an order, in whatever service. */
export interface TimelineEntry {
  readonly at: string;
  readonly service: string;
  readonly kind: TimelineKind;
  /** In one line, for people: `payment.completed`, `reserve stock`, … */
  readonly what: string;
  /** Ids, amounts, reasons: flat, for people and programs. */
  readonly details?: Readonly<Record<string, string | number | boolean>> | undefined;
}

/** `GET /orders/{orderId}/timeline`. */
export interface Timeline {
  readonly orderId: string;
  readonly entries: readonly TimelineEntry[];
}

/** The answer of `GET /orders/{orderId}/timeline`, by time. */
export const timelineSchema: z.ZodType<Timeline> = z.strictObject({
  orderId: orderIdSchema,
  entries: z
    .array(
      z.strictObject({
        at: instantSchema,
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
        ]),
        what: z.string(),
        details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
      }),
    )
    .readonly(),
});
