import { z } from "zod";
import { orderIdSchema, sagaIdSchema } from "./fields.ts";

/**
 * One step of a saga at a participant: `POST path` with `Idempotency-Key`, and `Compensates` when it
 * undoes another. A 2xx answer, or a 4xx problem, is for good and comes again under the same key;
 * 503 says that nothing was begun, 504 that it was and that only the same key may ask again.
 */
export interface StepContract<Body, Answer> {
  readonly path: string;
  readonly body: z.ZodType<Body>;
  readonly answer: z.ZodType<Answer>;
}

/** The orchestrator's fencing token, noted in the order's timeline. */
export const fencingTokenHeader = "fencing-token";

/** Whose step it is: every body has these. */
export const stepOwner: {
  readonly orderId: z.ZodString;
  readonly sagaId: z.ZodString;
} = { orderId: orderIdSchema, sagaId: sagaIdSchema };

/** What a step says that needs nothing else. */
export interface StepOwner {
  readonly orderId: string;
  /** The saga that asks. */
  readonly sagaId: string;
}

/** The body of such a step. */
export const stepOwnerSchema: z.ZodType<StepOwner> = z.strictObject(stepOwner);

/** What a compensation came to. Both are success. */
export interface Undone {
  readonly outcome: "undone" | "nothing-to-undo";
}

/** The answer of a compensation. */
export const undoneSchema: z.ZodType<Undone> = z.strictObject({
  outcome: z.enum(["undone", "nothing-to-undo"]),
});
