import { isDureError } from "dure";
import type { IdempotencyOptions } from "dure/idempotency";
import type { FastifyRequest } from "fastify";
import { principalOf } from "./principal.ts";
import { ProblemError, problemContentType, toProblemDocument } from "./problem.ts";
import type { ProblemCode } from "./problem.ts";
import { callContextOf } from "./request-context.ts";
import { toTraceparent } from "./trace-context.ts";

/**
 * How the shop's routes treat keys: a key is its user's, what is wrong with it is answered like any other
 * problem, and a refusal that is thrown frees the key again. Routes declare `config.idempotencyKey` too: then
 * a missing key is refused before the body is looked at.
 */
export const keyedRoute: IdempotencyOptions<FastifyRequest> = {
  principal: (request) => principalOf(request).userId,
  context: (request) => ({ traceparent: toTraceparent(callContextOf(request).trace) }),
  replyOfProblem({ code, detail, retryAfterMs }) {
    throw new ProblemError(code, detail, retryAfterMs === undefined ? {} : { retryAfterMs });
  },
};

/**
 * As {@link keyedRoute}, for a route some of whose refusals the request alone decides: with these codes they are
 * for good, stored, and come again byte for byte (H4). What the state of the shop decides, as a purchase that is
 * not there yet, must not be named here: the same key may ask again.
 */
export function keyedRouteRefusing(
  ...forGood: readonly ProblemCode[]
): IdempotencyOptions<FastifyRequest> {
  return {
    ...keyedRoute,
    replyOfError(error, request) {
      if (!(error instanceof ProblemError) || !forGood.includes(error.code)) return undefined;
      const { traceId } = callContextOf(request).trace;
      return {
        status: error.status,
        headers: { ...error.headers, "content-type": problemContentType },
        body: JSON.stringify(toProblemDocument(error, traceId)),
      };
    },
  };
}

/** Without a database, or in doubt about a commit, the same key is the way to find out. */
export function unavailable(error: unknown): never {
  const isPassing =
    isDureError(error, "DATABASE_UNAVAILABLE") ||
    isDureError(error, "COMMIT_IN_DOUBT") ||
    isDureError(error, "TRANSACTION_TIMED_OUT");
  if (!isPassing) throw error;
  const detail = "It may or may not have been done; send it again with the same key.";
  throw new ProblemError("NOT_READY", detail, { retryAfterMs: 1000, cause: error });
}
