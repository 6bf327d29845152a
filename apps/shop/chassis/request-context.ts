import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { continueTrace, requestIdFrom, toTraceparent } from "./trace-context.ts";
import type { CallContext, TraceContext } from "./trace-context.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The trace that this request belongs to, with the span of this request. */
    trace: TraceContext | undefined;
  }
}

/** Gives every request an id and a trace, and names both in its answer, errors included. */
export function identifyRequests(app: FastifyInstance): void {
  app.decorateRequest("trace", undefined);
  app.addHook("onRequest", (request, reply, done) => {
    identify(request, reply);
    done();
  });
}

/**
 * The request's trace, begun now if no hook has run: Fastify answers a malformed URL before it
 * looks for hooks.
 */
export function identify(request: FastifyRequest, reply: FastifyReply): TraceContext {
  if (request.trace !== undefined) return request.trace;
  const trace = continueTrace(oneHeader(request.raw.headers["traceparent"]));
  request.trace = trace;
  reply.header("x-request-id", request.id).header("traceparent", toTraceparent(trace));
  return trace;
}

/** What calls made on behalf of this request pass on. */
export function callContextOf(request: FastifyRequest, signal?: AbortSignal): CallContext {
  const trace = request.trace ?? continueTrace(undefined);
  return { requestId: request.id, trace, ...(signal === undefined ? {} : { signal }) };
}

/** Fastify's `genReqId`: the caller's id if it is harmless. */
export function requestIdOf(request: {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}): string {
  return requestIdFrom(request.headers["x-request-id"]);
}

/** One line per request: who, what, how long. Never a body, a token or a query. */
export function logRequests(app: FastifyInstance): void {
  app.addHook("onResponse", (request, reply, done) => {
    const line = {
      requestId: request.id,
      traceId: request.trace?.traceId,
      method: request.method,
      path: request.url.split("?", 1)[0],
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime * 10) / 10,
    };
    // Probes come every second from every direction; they would bury the rest.
    const level = operationalPaths.has(line.path ?? "") ? "debug" : "info";
    request.log[level](line, "request");
    done();
  });
}

const operationalPaths: ReadonlySet<string> = new Set(["/healthz", "/readyz", "/metrics"]);

function oneHeader(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
