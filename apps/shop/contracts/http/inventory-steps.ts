import { z } from "zod";
import { cancelReasons } from "../events.ts";
import type { CancelReason } from "../events.ts";
import { instantSchema, productIdSchema, quantitySchema, returnIdSchema } from "./fields.ts";
import { stepOwner, stepOwnerSchema, undoneSchema } from "./step.ts";
import type { StepContract, StepOwner, Undone } from "./step.ts";

/** So many pieces of a product. */
export interface Pieces {
  readonly productId: string;
  readonly quantity: number;
}

const itemsSchema = z
  .array(z.strictObject({ productId: productIdSchema, quantity: quantitySchema }))
  .min(1)
  .max(1_000)
  .readonly();

/** Sets pieces aside, all or none. */
export interface ReserveStock extends StepOwner {
  readonly items: readonly Pieces[];
}

/** Until when the saga holds its pieces, unless it renews or confirms them. */
export interface HeldUntil {
  readonly expiresAt: string;
}

const heldUntilSchema: z.ZodType<HeldUntil> = z.strictObject({ expiresAt: instantSchema });

/** Available to reserved. 409 OUT_OF_STOCK, HELD_BY_ANOTHER_ORDER, UNKNOWN_PRODUCT: nothing is held. */
export const reserveStock: StepContract<ReserveStock, HeldUntil> = {
  path: "/internal/steps/inventory-reserve",
  body: z.strictObject({ ...stepOwner, items: itemsSchema }),
  answer: heldUntilSchema,
};

/** Lets go of what is set aside. */
export interface CancelReservation extends StepOwner {
  readonly reason?: CancelReason | undefined;
}

/** Compensates `reserveStock`: reserved to available. 409 VERSION_CONFLICT while it is confirmed. */
export const cancelReservation: StepContract<CancelReservation, Undone> = {
  path: "/internal/steps/inventory-cancel",
  body: z.strictObject({ ...stepOwner, reason: z.enum(cancelReasons).optional() }),
  answer: undoneSchema,
};

/** The pieces are the order's for good. */
export interface Confirmed {
  readonly status: "CONFIRMED";
}

/** Reserved to sold. 409 RESERVATION_EXPIRED: it ran out, was released, or never was. */
export const confirmReservation: StepContract<StepOwner, Confirmed> = {
  path: "/internal/steps/inventory-confirm",
  body: stepOwnerSchema,
  answer: z.strictObject({ status: z.literal("CONFIRMED") }),
};

/** Compensates `confirmReservation`: sold to reserved, for as long again. */
export const unconfirmReservation: StepContract<StepOwner, Undone> = {
  path: "/internal/steps/inventory-unconfirm",
  body: stepOwnerSchema,
  answer: undoneSchema,
};

/** Takes sold pieces of one order back. A return over several orders is a step for each of them. */
export interface RestockPieces extends StepOwner {
  /** Left out when the order as a whole is canceled. */
  readonly returnId?: string | undefined;
  readonly items: readonly Pieces[];
}

/** The pieces are for sale again. */
export interface Restocked {
  readonly status: "RESTOCKED";
}

/**
 * Sold to available. 422 NO_MATCHING_PURCHASE: the order has fewer of them, and nothing moved; 409
 * VERSION_CONFLICT while pieces of it wait to be confirmed.
 */
export const restockPieces: StepContract<RestockPieces, Restocked> = {
  path: "/internal/steps/inventory-restock",
  body: z.strictObject({ ...stepOwner, returnId: returnIdSchema.optional(), items: itemsSchema }),
  answer: z.strictObject({ status: z.literal("RESTOCKED") }),
};

/** Holds a reservation for as long again; needs no key. 409 RESERVATION_EXPIRED: it is not held. */
export const renewReservation: StepContract<StepOwner, HeldUntil> = {
  path: "/internal/steps/inventory-renew",
  body: stepOwnerSchema,
  answer: heldUntilSchema,
};
