import { randomBytes } from "node:crypto";
import { ulid } from "ulid";

/** The place of one request in a distributed trace (W3C Trace Context, version 00). */
export interface TraceContext {
  readonly traceId: string;
  /** The span of this request: the parent of the calls it makes. */
  readonly spanId: string;
  /** Two hex digits; bit 0 says that the trace is recorded. */
  readonly flags: string;
}

// Version ff is forbidden, and later versions may append fields after a dash.
const traceparentPattern =
  /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const requestIdPattern = /^[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?$/;

/** Continues the caller's trace with a new span; without a valid `traceparent` starts a trace. */
export function continueTrace(traceparent: string | undefined): TraceContext {
  const match = traceparent === undefined ? null : traceparentPattern.exec(traceparent);
  const [, version, traceId, parentId, flags, rest] = match ?? [];
  const valid =
    traceId !== undefined &&
    !/^0+$/.test(traceId) &&
    !/^0+$/.test(parentId ?? "") &&
    (version !== "00" || rest === undefined);
  return {
    traceId: valid ? traceId : randomBytes(16).toString("hex"),
    spanId: randomBytes(8).toString("hex"),
    flags: valid ? (flags ?? "01") : "01",
  };
}

/** The header that passes the trace on. */
export function toTraceparent(trace: TraceContext): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.flags}`;
}

/**
 * The caller's request id when it is 1 to 128 printable ASCII characters, else a new one. Anything
 * else could split headers or log lines.
 */
export function requestIdFrom(header: string | readonly string[] | undefined): string {
  const given = typeof header === "string" ? header : undefined;
  return given !== undefined && requestIdPattern.test(given) ? given : `REQ-${ulid()}`;
}

/** What a call to another service passes on from the request that caused it. */
export interface CallContext {
  readonly requestId: string;
  readonly trace: TraceContext;
  /** Gives the call up, for example when a saga step lost its lease. */
  readonly signal?: AbortSignal;
}

/** A context for work that no request caused: a timer, a message, a start-up. */
export function newCallContext(signal?: AbortSignal): CallContext {
  const base = { requestId: requestIdFrom(undefined), trace: continueTrace(undefined) };
  return signal === undefined ? base : { ...base, signal };
}
