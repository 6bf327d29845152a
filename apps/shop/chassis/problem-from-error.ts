import { ProblemError } from "./problem.ts";
import type { ProblemCode } from "./problem.ts";

/**
 * Any error as a problem that may be shown to a stranger. A ProblemError stays itself; what
 * Fastify refuses before a handler runs gets its code; everything else is INTERNAL, with a detail
 * that gives nothing away and the error as its cause.
 *
 * @param isReceived whether all of the request had come. A connection that is reset before is the
 *   caller's; later it is one of ours, to a database say, and "400" would be a refusal for good
 */
export function problemFromError(error: unknown, isReceived: boolean): ProblemError {
  if (error instanceof ProblemError) return error;
  if (!isReceived && codeOf(error) === "ECONNRESET") {
    const detail = "The request ended before its body did.";
    return new ProblemError("VALIDATION_FAILED", detail, { cause: error });
  }
  const known = fastifyProblems[codeOf(error)] ?? refusalOfPlugin(error);
  if (known !== undefined) return new ProblemError(known.code, known.detail, { cause: error });
  return new ProblemError("INTERNAL", "The request failed; the trace id names the log line.", {
    cause: error,
  });
}

interface KnownRefusal {
  readonly code: ProblemCode;
  readonly detail: string;
}

/** Fastify's refusals by its own code. */
const fastifyProblems: Readonly<Record<string, KnownRefusal>> = {
  FST_ERR_BAD_URL: { code: "VALIDATION_FAILED", detail: "The URL is not encoded correctly." },
  FST_ERR_MAX_PARAM_LENGTH: { code: "VALIDATION_FAILED", detail: "A path segment is too long." },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: "PAYLOAD_TOO_LARGE", detail: "A body may have 1 MiB." },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: "UNSUPPORTED_MEDIA_TYPE",
    detail: "Send the body as application/json.",
  },
  FST_ERR_CTP_EMPTY_TYPE: {
    code: "UNSUPPORTED_MEDIA_TYPE",
    detail: "Send the body as application/json.",
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: "VALIDATION_FAILED",
    detail: "The body has another length than Content-Length says.",
  },
  FST_ERR_NOT_FOUND: { code: "NOT_FOUND", detail: "No such path." },
};

/** What Fastify or a plugin blames on the caller by status, without a code that we know. */
function refusalOfPlugin(error: unknown): KnownRefusal | undefined {
  if (!codeOf(error).startsWith("FST_") || !(error instanceof Error)) return undefined;
  const status: unknown = "statusCode" in error ? error.statusCode : undefined;
  if (typeof status !== "number" || status < 400 || status > 499) return undefined;
  // A file that may not be read, as one outside the documentation's folder, is not there.
  return status === 403 || status === 404
    ? { code: "NOT_FOUND", detail: "No such path." }
    : { code: "VALIDATION_FAILED", detail: "The request is not valid." };
}

function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}
