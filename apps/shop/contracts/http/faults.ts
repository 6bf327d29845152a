import { z } from "zod";

const latencyMsSchema = z.int().min(0).max(60_000);
const rateSchema = z.number().min(0).max(1);

const latencySchema = z
  .union([latencyMsSchema, z.tuple([latencyMsSchema, latencyMsSchema])])
  .refine((value) => typeof value === "number" || value[0] <= value[1], {
    message: "The lower bound is above the upper one",
  });

/** What can be made to go wrong at the payment provider. What is left out is off. */
export interface ProviderFaults {
  /** Waits so long before it does anything; a pair is drawn from evenly. */
  readonly latencyMs?: number | readonly [number, number] | undefined;
  /** How often it answers 503 and does nothing. */
  readonly failureRate?: number | undefined;
  /** How often it does what was asked and the answer is lost with the connection. */
  readonly answerLostRate?: number | undefined;
  /** How long, from now on, no operation gets through. */
  readonly outageMs?: number | undefined;
}

/** `PUT /faults` of the provider. */
export const providerFaultsSchema: z.ZodType<ProviderFaults> = z.strictObject({
  latencyMs: latencySchema.optional(),
  failureRate: rateSchema.optional(),
  answerLostRate: rateSchema.optional(),
  outageMs: z.int().min(0).max(600_000).optional(),
});

/** What can be made to go wrong at delivery and notification. What is left out is off. */
export interface ParticipantFaults {
  /** How often it refuses for good. */
  readonly refuseRate?: number | undefined;
  /** How often it fails in a way that may pass. */
  readonly failureRate?: number | undefined;
  readonly latencyMs?: number | readonly [number, number] | undefined;
}

/** `PUT /faults` of delivery and notification. */
export const participantFaultsSchema: z.ZodType<ParticipantFaults> = z.strictObject({
  refuseRate: rateSchema.optional(),
  failureRate: rateSchema.optional(),
  latencyMs: latencySchema.optional(),
});
