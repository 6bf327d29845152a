import { z } from "zod";
import {
  balanceSchema,
  instantSchema,
  productIdSchema,
  quantitySchema,
  returnIdSchema,
  unitPriceSchema,
  userIdSchema,
} from "./fields.ts";

/** Where a return stands. */
export type ReturnStatus = "PENDING" | "COMPLETED" | "NEEDS_ATTENTION";

const statusSchema: z.ZodType<ReturnStatus> = z.enum(["PENDING", "COMPLETED", "NEEDS_ATTENTION"]);

/** One line of goods that come back. */
export interface ReturnItem {
  readonly productId: string;
  readonly quantity: number;
  /** Only noted: what is refunded is what was paid. */
  readonly unitPrice?: number | undefined;
}

const itemSchema: z.ZodType<ReturnItem> = z.strictObject({
  productId: productIdSchema,
  quantity: quantitySchema,
  unitPrice: unitPriceSchema.optional(),
});

/** `POST /returns`. */
export interface NewReturn {
  /** Whose purchases the goods come from. */
  readonly userId: string;
  readonly items: readonly ReturnItem[];
}

/** The body of `POST /returns`. */
export const newReturnSchema: z.ZodType<NewReturn> = z.strictObject({
  userId: userIdSchema,
  items: z.array(itemSchema).min(1).max(1000),
});

/** The answer of `POST /returns`, with status 201. */
export const acceptedReturnSchema: z.ZodType<{
  readonly returnId: string;
  readonly status: ReturnStatus;
  readonly refund: number;
}> = z.strictObject({ returnId: returnIdSchema, status: statusSchema, refund: balanceSchema });

/** `GET /returns/{returnId}`. */
export interface ReturnView {
  readonly returnId: string;
  readonly userId: string;
  readonly status: ReturnStatus;
  readonly refund: number;
  readonly items: readonly ReturnItem[];
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** A return as its owner sees it. */
export const returnViewSchema: z.ZodType<ReturnView> = z.strictObject({
  returnId: returnIdSchema,
  userId: userIdSchema,
  status: statusSchema,
  refund: balanceSchema,
  items: z.array(itemSchema).readonly(),
  createdAt: instantSchema,
  updatedAt: instantSchema,
});

/** The path of one return. */
export const returnParamsSchema: z.ZodType<{ readonly returnId: string }> = z.strictObject({
  returnId: returnIdSchema,
});
