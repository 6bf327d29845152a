import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Socket } from "node:net";
import type { AllowedMethods } from "./allowed-methods.ts";
import { ProblemError, problemContentType, toProblemDocument } from "./problem.ts";
import { problemFromError } from "./problem-from-error.ts";
import { identify } from "./request-context.ts";
import { continueTrace, requestIdFrom, toTraceparent } from "./trace-context.ts";

/** Answers every error of the server, whoever raised it, with a problem document. */
export function answerErrorsAsProblems(app: FastifyInstance, allowed: AllowedMethods): void {
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler(() => {
    throw new ProblemError("NOT_FOUND", "No such path.");
  });
  // In a hook, because before the not-found handler Fastify would read the body, and refuse a
  // wrong content type on a path that does not even exist.
  app.addHook("onRequest", async (request, reply) => {
    if (!request.is404) return;
    const methods = allowed.of(request.url.split("?", 1)[0] ?? "");
    if (methods.length === 0) throw new ProblemError("NOT_FOUND", "No such path.");
    const allow = [...methods, "OPTIONS"].join(", ");
    if (request.method === "OPTIONS") return reply.code(204).header("allow", allow).send();
    throw new ProblemError("METHOD_NOT_ALLOWED", `This path answers ${allow}.`, {
      headers: { allow },
    });
  });
}

/** Sends the problem for an error, and logs what the caller is not told. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemFromError(error, request.raw.complete);
  const { traceId } = identify(request, reply);
  if (problem.code === "INTERNAL") {
    request.log.error({ err: problem.cause, requestId: request.id, traceId }, "request failed");
  }
  void reply
    .code(problem.status)
    .headers(problem.headers)
    .type(problemContentType)
    .serializer(String)
    .send(JSON.stringify(toProblemDocument(problem, traceId)));
}

/**
 * Answers what Node's HTTP parser refuses. There is no request object yet, so the answer is written
 * to the socket by hand.
 */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const problem =
    error.code === "HPE_HEADER_OVERFLOW"
      ? new ProblemError("PAYLOAD_TOO_LARGE", "The headers are too large.")
      : new ProblemError("VALIDATION_FAILED", "This is not a valid HTTP request.");
  const trace = continueTrace(undefined);
  const body = JSON.stringify(toProblemDocument(problem, trace.traceId));
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${problem.code}`,
      `content-type: ${problemContentType}`,
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${requestIdFrom(undefined)}`,
      `traceparent: ${toTraceparent(trace)}`,
      "connection: close",
      "",
      body,
    ].join("\r\n"),
  );
}
