import { z } from "zod";
import {
  amountSchema,
  balanceSchema,
  currencySchema,
  instantSchema,
  keySchema,
  orderIdSchema,
} from "./fields.ts";

/** What the payment provider does with money. */
export type ProviderOperation = "authorize" | "capture" | "void" | "charge" | "refund";

/** The cards that the provider knows. */
export type CardToken = "tok_visa" | "tok_declined" | "tok_insufficient" | "tok_timeout";

/** The cards, as the public API names them too. */
export const cardTokenSchema: z.ZodType<CardToken> = z.enum([
  "tok_visa",
  "tok_declined",
  "tok_insufficient",
  "tok_timeout",
]);

/** `POST /authorize` and `POST /charge`: new money, from a card. */
export interface CardPayment {
  readonly orderId: string;
  readonly amount: number;
  readonly currency: "GBP";
  readonly token: CardToken;
}

/** The body of `POST /authorize` and `POST /charge`. */
export const cardPaymentSchema: z.ZodType<CardPayment> = z.strictObject({
  orderId: orderIdSchema,
  amount: amountSchema,
  currency: currencySchema,
  token: cardTokenSchema,
});

/** `POST /capture`: takes money that an authorization holds, all of it or less, once. */
export interface Capture {
  readonly orderId: string;
  readonly amount: number;
  readonly currency: "GBP";
  /** The Idempotency-Key of the authorization. */
  readonly authorizationKey: string;
}

/** The body of `POST /capture`. */
export const captureSchema: z.ZodType<Capture> = z.strictObject({
  orderId: orderIdSchema,
  amount: amountSchema,
  currency: currencySchema,
  authorizationKey: keySchema,
});

/** `POST /void` with `Compensates: <authorization key>`: lets go of all that it holds. */
export interface Void {
  readonly orderId: string;
}

/** The body of `POST /void`. */
export const voidSchema: z.ZodType<Void> = z.strictObject({ orderId: orderIdSchema });

/** `POST /refund` with `Compensates: <charge or capture key>`: gives money back, also in parts. */
export interface Refund {
  readonly orderId: string;
  readonly amount: number;
  readonly currency: "GBP";
}

/** The body of `POST /refund`. */
export const refundSchema: z.ZodType<Refund> = z.strictObject({
  orderId: orderIdSchema,
  amount: amountSchema,
  currency: currencySchema,
});

/** Why the provider declines: final for this key, and worth no retry. */
export type DeclineReason = "PAYMENT_DECLINED" | "INSUFFICIENT_FUNDS";

/** What an operation came to. A repeated key gets it again. */
export interface ProviderAnswer {
  readonly outcome: "approved" | "declined";
  /** Beside `declined` only. */
  readonly reason?: DeclineReason | undefined;
  readonly transactionId: string;
  /** What moved: 0 when it was declined, or when there was nothing to void or refund. */
  readonly amount: number;
}

/** The answer of all five operations, with status 200. */
export const providerAnswerSchema: z.ZodType<ProviderAnswer> = z.strictObject({
  outcome: z.enum(["approved", "declined"]),
  reason: z.enum(["PAYMENT_DECLINED", "INSUFFICIENT_FUNDS"]).optional(),
  transactionId: z.string(),
  amount: balanceSchema,
});

const operationSchema = z.enum(["authorize", "capture", "void", "charge", "refund"]);

/**
 * `GET /operations/{key}`. `unknown`: nothing has happened under the key so far; a request under
 * way may still arrive, so it is no promise. `compensated`: if it ever happened it is undone, and
 * it will not happen any more.
 */
export interface OperationOutcome {
  readonly key: string;
  readonly state: "unknown" | "known" | "compensated";
  /** Left out when the operation never happened. */
  readonly operation?: ProviderOperation | undefined;
  readonly answer?: ProviderAnswer | undefined;
}

/** The answer of `GET /operations/{key}`. */
export const operationOutcomeSchema: z.ZodType<OperationOutcome> = z.strictObject({
  key: keySchema,
  state: z.enum(["unknown", "known", "compensated"]),
  operation: operationSchema.optional(),
  answer: providerAnswerSchema.optional(),
});

/** One movement of money. Declined and empty operations move none and are not here. */
export interface LedgerEntry {
  readonly orderId: string;
  readonly operation: ProviderOperation;
  readonly amount: number;
  readonly key: string;
  readonly at: string;
}

/** The answer of `GET /ledger`, oldest first. */
export const ledgerSchema: z.ZodType<{ readonly entries: readonly LedgerEntry[] }> = z.strictObject(
  {
    entries: z
      .array(
        z.strictObject({
          orderId: orderIdSchema,
          operation: operationSchema,
          amount: amountSchema,
          key: keySchema,
          at: instantSchema,
        }),
      )
      .readonly(),
  },
);

/** What the provider did for one order, added up. */
export interface OrderBalance {
  readonly orderId: string;
  readonly authorized: number;
  readonly captured: number;
  readonly charged: number;
  readonly voided: number;
  readonly refunded: number;
  /** What the customer has paid in the end: captured + charged − refunded. */
  readonly net: number;
}

/** The answer of `GET /ledger/summary`. */
export const ledgerSummarySchema: z.ZodType<{ readonly orders: readonly OrderBalance[] }> =
  z.strictObject({
    orders: z
      .array(
        z.strictObject({
          orderId: orderIdSchema,
          authorized: balanceSchema,
          captured: balanceSchema,
          charged: balanceSchema,
          voided: balanceSchema,
          refunded: balanceSchema,
          net: balanceSchema,
        }),
      )
      .readonly(),
  });

/** What came to the provider's door since it started. */
export const admissionCountsSchema = z.strictObject({
  admitted: z.int().min(0),
  runningMax: z.int().min(0),
  refused: z.int().min(0),
});
