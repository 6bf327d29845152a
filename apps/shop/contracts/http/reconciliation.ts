import { z } from "zod";
import { instantSchema } from "./fields.ts";

/** Two services that do not agree about one thing. */
export interface Disagreement {
  readonly kind: string;
  readonly id: string;
  readonly expected: string | number | null;
  readonly actual: string | number | null;
}

/** `GET /reconciliation`: whether the services, and the provider outside, tell one story. */
export interface Reconciliation {
  /** No disagreement. */
  readonly ok: boolean;
  readonly checkedAt: string;
  /** How many orders stand at each status. */
  readonly orders: Readonly<Record<string, number>>;
  /** Orders and returns that are not final and therefore not compared. */
  readonly inFlight: number;
  /** What customers paid in the end, as each side has it. */
  readonly money: {
    readonly orders: number;
    readonly payments: number;
    readonly provider: number;
  };
  readonly stock: Readonly<Record<string, number>>;
  readonly deliveries: Readonly<Record<string, number>>;
  readonly disagreements: readonly Disagreement[];
}

const sideSchema = z.union([z.string(), z.number(), z.null()]);
const countsSchema = z.record(z.string(), z.int());

/** The answer of `GET /reconciliation`. */
export const reconciliationSchema: z.ZodType<Reconciliation> = z.strictObject({
  ok: z.boolean(),
  checkedAt: instantSchema,
  orders: countsSchema,
  inFlight: z.int().min(0),
  money: z.strictObject({ orders: z.int(), payments: z.int(), provider: z.int() }),
  stock: countsSchema,
  deliveries: countsSchema,
  disagreements: z
    .array(
      z.strictObject({
        kind: z.string(),
        id: z.string(),
        expected: sideSchema,
        actual: sideSchema,
      }),
    )
    .readonly(),
});
