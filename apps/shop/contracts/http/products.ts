import { z } from "zod";
import { productIdSchema, productNameSchema } from "./fields.ts";

/** Pieces in stock. Far below 2⁵³, so that available, reserved and sold add up exactly. */
const stockSchema = z.int().min(0).max(1_000_000_000_000);

/** The path of everything about one product. */
export const productParamsSchema: z.ZodType<{ readonly productId: string }> = z.strictObject({
  productId: productIdSchema,
});

/** `PUT /products/{productId}`. */
export interface ProductStock {
  readonly name: string;
  /** Replaces what is available; what is reserved or sold stays. */
  readonly available: number;
}

/** The body of `PUT /products/{productId}`. */
export const productStockSchema: z.ZodType<ProductStock> = z.strictObject({
  name: productNameSchema,
  available: stockSchema,
});

/** A product and where its pieces are. */
export interface ProductView {
  readonly productId: string;
  readonly name: string;
  readonly available: number;
  readonly reserved: number;
  /** Confirmed less restocked. */
  readonly sold: number;
}

/** The answer of `GET` and `PUT /products/{productId}`. */
export const productViewSchema: z.ZodType<ProductView> = z.strictObject({
  productId: productIdSchema,
  name: productNameSchema,
  available: stockSchema,
  reserved: stockSchema,
  sold: stockSchema,
});
