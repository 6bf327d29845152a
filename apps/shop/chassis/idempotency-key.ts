import type { FastifyInstance, FastifyRequest } from "fastify";
import type { IncomingMessage } from "node:http";
import { ProblemError } from "./problem.ts";

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

/** The longest key, counted after unquoting. */
export const idempotencyKeyLengthMax = 255;

const headerNames = ["idempotency-key", "x-idempotency-key"] as const;

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
  const keys = new Set(headerValues(request.rawHeaders).map(parseKey));
  const [key, ...others] = keys;
  if (key === undefined) {
    throw new ProblemError("IDEMPOTENCY_KEY_MISSING", "Send a new Idempotency-Key per action.");
  }
  if (others.length > 0) throw invalid("The request carries two different keys.");
  return key;
}

/** Every value that was sent; the parsed headers would join repeated ones with a comma. */
function headerValues(rawHeaders: readonly string[]): readonly string[] {
  return rawHeaders.filter((_, at) => {
    const name = at % 2 === 1 ? rawHeaders[at - 1]?.toLowerCase() : undefined;
    return headerNames.some((each) => each === name);
  });
}

function parseKey(header: string): string {
  const value = header.trim();
  const key = value.startsWith('"') ? unquote(value) : value;
  if (key === "") throw invalid("The key is empty.");
  if (key.length > idempotencyKeyLengthMax) {
    throw invalid(`A key has at most ${idempotencyKeyLengthMax} characters.`);
  }
  if (!/^[\x20-\x7e]+$/.test(key)) throw invalid("A key consists of printable ASCII characters.");
  return key;
}

/** RFC 9651: between the quotes, a backslash may precede a quote or a backslash only. */
function unquote(value: string): string {
  const inner = /^"((?:[^"\\]|\\["\\])*)"$/.exec(value)?.[1];
  if (inner === undefined) throw invalid("The key is not quoted correctly.");
  return inner.replaceAll(/\\(["\\])/g, "$1");
}

function invalid(detail: string): ProblemError {
  return new ProblemError("IDEMPOTENCY_KEY_INVALID", detail);
}
