import { z } from "zod";
import { userIdSchema } from "./fields.ts";

/** The roles that a demo token may carry; `service` is not among them. */
export type DemoRole = "customer" | "merchant" | "operator";

/** `POST /demo/token`. */
export interface DemoTokenRequest {
  readonly userId: string;
  /** @defaultValue `["customer"]` */
  readonly roles?: readonly DemoRole[] | undefined;
}

/** The body of `POST /demo/token`. */
export const demoTokenRequestSchema: z.ZodType<DemoTokenRequest> = z.strictObject({
  userId: userIdSchema,
  roles: z
    .array(z.enum(["customer", "merchant", "operator"]))
    .min(1)
    .max(3)
    .optional(),
});

/** The answer of `POST /demo/token`: good for an hour. */
export const demoTokenSchema: z.ZodType<{ readonly token: string }> = z.strictObject({
  token: z.string(),
});
