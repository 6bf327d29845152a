import { readCompensatedKey } from "dure/idempotency";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { ProblemError } from "./problem.ts";
import { headerValues } from "./raw-headers.ts";

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
  const read = readCompensatedKey((name) => headerValues(request.raw.rawHeaders, name));
  if (read.kind === "key") return read.key;
  throw refused(read.kind === "invalid" ? read.reason : "Name the forward key that this undoes.");
}

function refused(message: string): ProblemError {
  const errors = [{ path: "Compensates", message }];
  return new ProblemError("VALIDATION_FAILED", "The Compensates header is not valid.", { errors });
}
