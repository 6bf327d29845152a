import type { FastifyInstance, FastifyRequest } from "fastify";
import { KeySyntaxError, headerValues, parseKey } from "./key-header.ts";
import { ProblemError } from "./problem.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The forward key that this request compensates; see `compensatedKeyOf`. */
    compensates: string | undefined;
  }
  interface FastifyContextConfig {
    /** The route undoes another call and refuses requests that do not say which. */
    compensates?: boolean;
  }
}

/** Reads `Compensates: <forward key>` of every route that undoes something. */
export function readCompensatedKeys(app: FastifyInstance): void {
  app.decorateRequest("compensates", undefined);
  app.addHook("preValidation", (request, _reply, done) => {
    if (request.routeOptions.config.compensates === true) {
      request.compensates = compensatedKeyFrom(request);
    }
    done();
  });
}

/** The forward key of a request whose route declares `config.compensates`. */
export function compensatedKeyOf(request: FastifyRequest): string {
  if (request.compensates === undefined) {
    throw new Error(`${request.routeOptions.url} does not declare config.compensates`);
  }
  return request.compensates;
}

function compensatedKeyFrom(request: FastifyRequest): string {
  const values = headerValues(request.raw.rawHeaders, ["compensates"]);
  const [value, ...others] = values;
  if (value === undefined || others.length > 0) {
    throw refused("Name the one forward key that this undoes.");
  }
  try {
    return parseKey(value);
  } catch (error) {
    throw error instanceof KeySyntaxError ? refused(error.message) : error;
  }
}

function refused(message: string): ProblemError {
  const errors = [{ path: "Compensates", message }];
  return new ProblemError("VALIDATION_FAILED", "The Compensates header is not valid.", { errors });
}
