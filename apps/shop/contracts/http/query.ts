import { z } from "zod";

/**
 * How many entries a page may have, 1 to 1000. A query is text, so the digits are read here; what
 * is no plain number is refused, not guessed at.
 */
export const limitSchema: z.ZodType<number> = z
  .string()
  .refine((value) => /^[1-9]\d{0,3}$/.test(value) && Number(value) <= 1000, {
    message: "Must be a whole number from 1 to 1000",
  })
  .transform(Number)
  .meta({ type: "integer", minimum: 1, maximum: 1000 });
