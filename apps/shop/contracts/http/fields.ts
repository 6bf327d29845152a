import { z } from "zod";

// Spelled out instead of \p{Cc}: the pattern goes into the OpenAPI document, and not every reader
// of those has Unicode classes.
// oxlint-disable-next-line no-control-regex -- to refuse them is what it is for
const plainText = /^[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]*$/u;

/** Text without control characters and lone surrogates: what every database and log can keep. */
function text(lengthMax: number): z.ZodString {
  const message = "Control characters are not allowed";
  return z.string().min(1).max(lengthMax).regex(plainText, message);
}

/** Minor units (pence, won), up to the largest integer that JSON carries exactly. */
export const amountMax: number = Number.MAX_SAFE_INTEGER;

/** An amount of money that is asked for or moved. */
export const amountSchema: z.ZodInt = z.int().min(1).max(amountMax);

/** An amount of money that may be nothing. */
export const balanceSchema: z.ZodInt = z.int().min(0).max(amountMax);

/** The one currency of the shop. */
export const currencySchema: z.ZodLiteral<"GBP"> = z.literal("GBP");

/** How many pieces of a product a line asks for. */
export const quantitySchema: z.ZodInt = z.int().min(1).max(1_000_000);

/** What one piece costs, in minor units. */
export const unitPriceSchema: z.ZodInt = z.int().min(1).max(1_000_000_000);

/** Chosen by the merchant. */
export const productIdSchema: z.ZodString = text(64);

/** What people call a product. */
export const productNameSchema: z.ZodString = text(200);

/** The subject of a token. */
export const userIdSchema: z.ZodString = text(128);

/** Given by the order service. */
export const orderIdSchema: z.ZodString = text(64);

/** Given by the order service. */
export const returnIdSchema: z.ZodString = text(64);

/** `SAGA-` and a ULID. */
export const sagaIdSchema: z.ZodString = text(64);

/** An Idempotency-Key of a step or of a client. */
export const keySchema: z.ZodString = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[ -~]+$/);

/** An instant in UTC with milliseconds. */
export const instantSchema: z.ZodISODateTime = z.iso.datetime({ precision: 3 });
