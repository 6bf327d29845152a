import { z } from "zod";
import { cancelReasons } from "../events.ts";
import type { CancelReason } from "../events.ts";
import {
  amountSchema,
  balanceSchema,
  currencySchema,
  returnIdSchema,
  userIdSchema,
} from "./fields.ts";
import { cardTokenSchema } from "./provider.ts";
import type { CardToken } from "./provider.ts";
import { stepOwner, stepOwnerSchema } from "./step.ts";
import type { StepContract, StepOwner, Undone } from "./step.ts";

/** An order's money, from a card. */
export interface PayWithCard extends StepOwner {
  readonly userId: string;
  readonly amount: number;
  readonly currency: "GBP";
  readonly token: CardToken;
}

const payWithCardSchema: z.ZodType<PayWithCard> = z.strictObject({
  ...stepOwner,
  userId: userIdSchema,
  amount: amountSchema,
  currency: currencySchema,
  token: cardTokenSchema,
});

/** Money that moved, and the provider's name for that. */
export interface MoneyMoved {
  readonly status: "AUTHORIZED" | "CAPTURED" | "CHARGED" | "REFUNDED";
  readonly amount: number;
  readonly transactionId: string;
}

const moneyMovedSchema: z.ZodType<MoneyMoved> = z.strictObject({
  status: z.enum(["AUTHORIZED", "CAPTURED", "CHARGED", "REFUNDED"]),
  amount: amountSchema,
  transactionId: z.string(),
});

/** Holds money. 422 PAYMENT_DECLINED, INSUFFICIENT_FUNDS; 409 VERSION_CONFLICT: paid otherwise. */
export const authorizePayment: StepContract<PayWithCard, MoneyMoved> = {
  path: "/internal/steps/payment-authorize",
  body: payWithCardSchema,
  answer: moneyMovedSchema,
};

/** Takes money at once (one-phase). Refusals as for `authorizePayment`. */
export const chargePayment: StepContract<PayWithCard, MoneyMoved> = {
  path: "/internal/steps/payment-charge",
  body: payWithCardSchema,
  answer: moneyMovedSchema,
};

/** Takes all that the order's authorization holds. 409 VERSION_CONFLICT: nothing is held. */
export const capturePayment: StepContract<StepOwner, MoneyMoved> = {
  path: "/internal/steps/payment-capture",
  body: stepOwnerSchema,
  answer: moneyMovedSchema,
};

/** Undoes a payment step, whatever became of it. */
export interface UndoPayment extends StepOwner {
  readonly reason?: CancelReason | undefined;
}

/** What was let go of, or given back: 0 when there was nothing. */
export interface MoneyUndone extends Undone {
  readonly amount: number;
}

const undoPaymentSchema: z.ZodType<UndoPayment> = z.strictObject({
  ...stepOwner,
  reason: z.enum(cancelReasons).optional(),
});

const moneyUndoneSchema: z.ZodType<MoneyUndone> = z.strictObject({
  outcome: z.enum(["undone", "nothing-to-undo"]),
  amount: balanceSchema,
});

/** Compensates `authorizePayment`. 409 VERSION_CONFLICT: the money is captured, or may be. */
export const voidPayment: StepContract<UndoPayment, MoneyUndone> = {
  path: "/internal/steps/payment-void",
  body: undoPaymentSchema,
  answer: moneyUndoneSchema,
};

/** Compensates `chargePayment`, with the key `{sagaId}-payment-refund`. */
export const refundCharge: StepContract<UndoPayment, MoneyUndone> = {
  path: "/internal/steps/payment-charge-refund",
  body: undoPaymentSchema,
  answer: moneyUndoneSchema,
};

/** Gives back money that an order has paid, all or a part of it, in whatever mode it was paid. */
export interface RefundPayment extends StepOwner {
  readonly amount: number;
  /** Left out when the order as a whole is canceled. */
  readonly returnId?: string | undefined;
  readonly reason?: CancelReason | undefined;
}

/**
 * A step of a cancel or return saga, compensates nothing. 422 AMOUNT_TOO_LARGE: less is left of what
 * was paid; 422 NO_MATCHING_PURCHASE: the order has paid nothing.
 */
export const refundPayment: StepContract<RefundPayment, MoneyMoved> = {
  path: "/internal/steps/payment-refund",
  body: z.strictObject({
    ...stepOwner,
    amount: amountSchema,
    returnId: returnIdSchema.optional(),
    reason: z.enum(cancelReasons).optional(),
  }),
  answer: moneyMovedSchema,
};
