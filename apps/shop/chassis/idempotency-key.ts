import { readIdempotencyKey } from "dure/idempotency";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { IncomingMessage } from "node:http";
import { ProblemError } from "./problem.ts";
import { headerValues } from "./raw-headers.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The key of a request to a route with `config.idempotencyKey`; else undefined. */
    idempotencyKey: string | undefined;
  }
  interface FastifyContextConfig {
    /** The route refuses requests without an Idempotency-Key. */
    idempotencyKey?: boolean;
  }
}

/** Reads the key of every route that asks for one, before the body is validated. */
export function readIdempotencyKeys(app: FastifyInstance): void {
  app.decorateRequest("idempotencyKey", undefined);
  app.addHook("preValidation", (request, _reply, done) => {
    if (request.routeOptions.config.idempotencyKey === true) {
      request.idempotencyKey = idempotencyKeyFrom(request.raw);
    }
    done();
  });
}

/** The key of a request whose route asks for one. */
export function idempotencyKeyOf(request: FastifyRequest): string {
  if (request.idempotencyKey === undefined) {
    throw new Error(`${request.routeOptions.url} does not declare config.idempotencyKey`);
  }
  return request.idempotencyKey;
}

/**
 * The caller's key, from `Idempotency-Key` or `X-Idempotency-Key`: a structured-field string in
 * quotes or the bare value, which are the same key.
 *
 * @throws ProblemError IDEMPOTENCY_KEY_MISSING without a header, IDEMPOTENCY_KEY_INVALID when it is
 *   empty, too long, not printable ASCII, badly quoted, or when two headers disagree
 */
export function idempotencyKeyFrom(request: Pick<IncomingMessage, "rawHeaders">): string {
  const read = readIdempotencyKey((name) => headerValues(request.rawHeaders, name));
  switch (read.kind) {
    case "key":
      return read.key;
    case "missing":
      throw new ProblemError("IDEMPOTENCY_KEY_MISSING", "Send a new Idempotency-Key per action.");
    case "invalid":
      throw new ProblemError("IDEMPOTENCY_KEY_INVALID", read.reason);
  }
}
