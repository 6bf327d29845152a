import type { MessageContext } from "dure";
import type { FastifyReply, FastifyRequest } from "fastify";
import { createHash } from "node:crypto";
import type { z } from "zod";
import { fencingTokenHeader } from "../contracts/http/step.ts";
import type { StepContract } from "../contracts/http/step.ts";
import { compensatedKeyOf } from "./compensates.ts";
import { idempotencyKeyOf } from "./idempotency-key.ts";
import { toTraceparent } from "./trace-context.ts";

/** What a request says of the step that it asks for. */
export interface StepCall {
  readonly key: string;
  /** Equal for equal requests only. */
  readonly fingerprint: string;
  /** Of the orchestrator that asks; for people who look at the timeline. */
  readonly fencingToken: string | undefined;
  /** What the step's events belong to. */
  readonly context: MessageContext;
}

/** A step that undoes another. */
export interface CompensatingCall extends StepCall {
  /** The forward key. */
  readonly compensates: string;
}

/** The call of a route with `config.idempotencyKey`. */
export function stepCallOf(request: FastifyRequest): StepCall {
  const fencingToken = request.headers[fencingTokenHeader];
  const { trace } = request;
  return {
    key: idempotencyKeyOf(request),
    // The schemas give parsed bodies their own order of fields, so equal requests are equal text.
    fingerprint: createHash("sha256")
      .update(JSON.stringify([request.routeOptions.url, request.body]))
      .digest("hex"),
    fencingToken: typeof fencingToken === "string" ? fencingToken.slice(0, 64) : undefined,
    context: {
      correlationId: request.id,
      ...(trace === undefined ? {} : { traceparent: toTraceparent(trace) }),
    },
  };
}

/** The call of a route that also has `config.compensates`. */
export function compensatingCallOf(request: FastifyRequest): CompensatingCall {
  return { ...stepCallOf(request), compensates: compensatedKeyOf(request) };
}

/** The body to send; whether it was sent before is said in a header. */
export function replyWith<Body>(
  reply: FastifyReply,
  { body, isReplayed }: { readonly body: Body; readonly isReplayed: boolean },
): Body {
  if (isReplayed) void reply.header("idempotent-replayed", "true");
  return body;
}

/** What a step's route validates and documents. */
export interface StepSchema<Body, Answer> {
  readonly tags: string[];
  readonly summary: string;
  readonly body: z.ZodType<Body>;
  readonly response: { readonly 200: z.ZodType<Answer> };
}

/** The schema of a step's route, from its contract. */
export function stepSchemaOf<Body, Answer>(
  contract: StepContract<Body, Answer>,
  summary: string,
): StepSchema<Body, Answer> {
  const response = { 200: contract.answer.describe("What it came to") };
  return { tags: ["steps"], summary, body: contract.body, response };
}
