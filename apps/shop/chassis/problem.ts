/** Every code that an answer of the shop may carry. The public contract: add, never rename. */
export type ProblemCode =
  | "VALIDATION_FAILED"
  | "MALFORMED_JSON"
  | "IDEMPOTENCY_KEY_MISSING"
  | "IDEMPOTENCY_KEY_INVALID"
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "METHOD_NOT_ALLOWED"
  | "IDEMPOTENCY_IN_PROGRESS"
  | "VERSION_CONFLICT"
  | "ORDER_NEEDS_ATTENTION"
  | "STEP_COMPENSATED"
  | "OUT_OF_STOCK"
  | "HELD_BY_ANOTHER_ORDER"
  | "UNKNOWN_PRODUCT"
  | "RESERVATION_EXPIRED"
  | "DELIVERY_REFUSED"
  | "PAYLOAD_TOO_LARGE"
  | "UNSUPPORTED_MEDIA_TYPE"
  | "IDEMPOTENCY_KEY_REUSED"
  | "AMOUNT_TOO_LARGE"
  | "NO_MATCHING_PURCHASE"
  | "PAYMENT_DECLINED"
  | "INSUFFICIENT_FUNDS"
  | "PAYMENT_FLOW_NOT_SUPPORTED"
  | "RATE_LIMITED"
  | "INTERNAL"
  | "NOT_IMPLEMENTED"
  | "PROVIDER_THROTTLED"
  | "NOT_READY"
  | "OUTCOME_UNKNOWN";

/** The status and the title that belong to a code, for good. */
export interface ProblemKind {
  readonly status: number;
  readonly title: string;
}

/** The one place that ties a code to its HTTP status. */
export const problemKinds: Readonly<Record<ProblemCode, ProblemKind>> = {
  VALIDATION_FAILED: { status: 400, title: "The request is not valid" },
  MALFORMED_JSON: { status: 400, title: "The body is not valid JSON" },
  IDEMPOTENCY_KEY_MISSING: { status: 400, title: "An Idempotency-Key is required" },
  IDEMPOTENCY_KEY_INVALID: { status: 400, title: "The Idempotency-Key is not valid" },
  UNAUTHENTICATED: { status: 401, title: "A valid bearer token is required" },
  FORBIDDEN: { status: 403, title: "The token does not allow this" },
  NOT_FOUND: { status: 404, title: "There is nothing here" },
  METHOD_NOT_ALLOWED: { status: 405, title: "The method is not allowed here" },
  IDEMPOTENCY_IN_PROGRESS: { status: 409, title: "The same request is still running" },
  VERSION_CONFLICT: { status: 409, title: "Someone else changed it first" },
  ORDER_NEEDS_ATTENTION: { status: 409, title: "The order waits for an operator" },
  STEP_COMPENSATED: { status: 409, title: "The step was compensated before it ran" },
  OUT_OF_STOCK: { status: 409, title: "There are not enough pieces" },
  HELD_BY_ANOTHER_ORDER: { status: 409, title: "Other orders hold the pieces" },
  UNKNOWN_PRODUCT: { status: 409, title: "There is no such product" },
  RESERVATION_EXPIRED: { status: 409, title: "The reservation is not held any more" },
  DELIVERY_REFUSED: { status: 409, title: "The carrier refuses for good" },
  PAYLOAD_TOO_LARGE: { status: 413, title: "The request is too large" },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: "The body must be application/json" },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: "The key was used for another request" },
  AMOUNT_TOO_LARGE: { status: 422, title: "The amount is too large" },
  NO_MATCHING_PURCHASE: { status: 422, title: "No purchase covers the return" },
  PAYMENT_DECLINED: { status: 422, title: "The card was declined" },
  INSUFFICIENT_FUNDS: { status: 422, title: "The card's account has too little money" },
  PAYMENT_FLOW_NOT_SUPPORTED: { status: 422, title: "The payment flow is not supported" },
  RATE_LIMITED: { status: 429, title: "Too many requests" },
  INTERNAL: { status: 500, title: "Something went wrong on our side" },
  NOT_IMPLEMENTED: { status: 501, title: "Not implemented yet" },
  PROVIDER_THROTTLED: { status: 503, title: "The payment provider takes no more requests" },
  NOT_READY: { status: 503, title: "The service is not ready" },
  OUTCOME_UNKNOWN: { status: 504, title: "It was begun, and how it ends is not known yet" },
};

/** One thing that is wrong with a request, and where. */
export interface FieldError {
  /** Dotted path into the body, or the name of the parameter; empty for the whole. */
  readonly path: string;
  readonly message: string;
}

/** What a problem may carry beyond its code and its detail. */
export interface ProblemExtras {
  readonly errors?: readonly FieldError[];
  /** Sent as `Retry-After`, rounded up to whole seconds. */
  readonly retryAfterMs?: number;
  /** Further headers of the answer, for example `allow`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Kept for the log; never part of the answer. */
  readonly cause?: unknown;
}

/** Throw it anywhere below a route: the answer is a problem document with this code. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly code: ProblemCode;
  readonly detail: string;
  readonly errors: readonly FieldError[] | undefined;
  readonly headers: Readonly<Record<string, string>>;

  /** @param detail one sentence for the caller; it must hold nothing internal */
  constructor(code: ProblemCode, detail: string, extras: ProblemExtras = {}) {
    super(`${code}: ${detail}`, { cause: extras.cause });
    this.code = code;
    this.detail = detail;
    this.errors = extras.errors;
    this.headers =
      extras.retryAfterMs === undefined
        ? { ...extras.headers }
        : { ...extras.headers, "retry-after": retryAfterSeconds(extras.retryAfterMs) };
  }

  /** The HTTP status of the code. */
  get status(): number {
    return problemKinds[this.code].status;
  }
}

/** The content type of every error. */
export const problemContentType = "application/problem+json; charset=utf-8";

/** The document that goes over the wire (RFC 9457). */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
  readonly traceId: string;
  readonly errors?: readonly FieldError[];
}

/** Writes a problem down for the caller. */
export function toProblemDocument(error: ProblemError, traceId: string): ProblemDocument {
  const { status, title } = problemKinds[error.code];
  return {
    type: `urn:dure-shop:problem:${error.code.toLowerCase().replaceAll("_", "-")}`,
    title,
    status,
    detail: error.detail,
    code: error.code,
    traceId,
    ...(error.errors === undefined ? {} : { errors: error.errors }),
  };
}

function retryAfterSeconds(ms: number): string {
  return String(Math.max(1, Math.ceil(ms / 1000)));
}
