import type { FailureVerdict } from "dure/resilience";
import type { ServiceName } from "./config.ts";

/** The facts about a call to another service that did not bring an answer to use. */
export interface PeerErrorFacts {
  readonly peer: ServiceName;
  /** Undefined when no answer came. */
  readonly status?: number;
  /** The peer's problem code, or what happened to the connection. */
  readonly code: PeerErrorCode;
  /** Whether the same call, with the same key, may succeed later. */
  readonly retryable: boolean;
  /** Whether the peer may have done what was asked. Then only the same key may ask again. */
  readonly outcomeUnknown: boolean;
  /** When the peer said so. */
  readonly retryAfterMs?: number;
  readonly detail?: string;
  readonly cause?: unknown;
}

/**
 * A problem code of the peer (`STEP_COMPENSATED`, …), or one of ours: `UNREACHABLE` no connection,
 * `TIMED_OUT` no answer in time, `DISCONNECTED` the connection broke after the request had left,
 * `ABORTED` by our own signal, `UNREADABLE` an answer that is not what the contract says, `BREAKER_OPEN` and
 * `BULKHEAD_FULL` not sent, because the peer fails too often or too many calls to it are under way.
 */
export type PeerErrorCode = string;

/** Thrown by a peer client for everything but the answer that was asked for. */
export class PeerError extends Error {
  override readonly name = "PeerError";
  readonly peer: ServiceName;
  readonly status: number | undefined;
  readonly code: PeerErrorCode;
  readonly retryable: boolean;
  readonly outcomeUnknown: boolean;
  readonly retryAfterMs: number | undefined;
  readonly detail: string | undefined;

  constructor(facts: PeerErrorFacts) {
    super(`${facts.peer} answered ${facts.status ?? "nothing"}: ${facts.code}`, {
      cause: facts.cause,
    });
    this.peer = facts.peer;
    this.status = facts.status;
    this.code = facts.code;
    this.retryable = facts.retryable;
    this.outcomeUnknown = facts.outcomeUnknown;
    this.retryAfterMs = facts.retryAfterMs;
    this.detail = facts.detail;
  }
}

/** What a connection's failure says about the call. */
export function errorFromConnection(
  peer: ServiceName,
  error: unknown,
  abortedByCaller: boolean,
): PeerError {
  if (error instanceof PeerError) return error;
  const code = abortedByCaller ? "ABORTED" : connectionCode(error);
  return new PeerError({
    peer,
    code,
    retryable: code !== "ABORTED",
    // Only a request that never left is known to have done nothing.
    outcomeUnknown: code !== "UNREACHABLE",
    cause: error,
  });
}

/** What an answer other than 2xx says about the call. */
export function errorFromAnswer(
  peer: ServiceName,
  answer: { readonly status: number; readonly text: string; readonly retryAfter?: string },
): PeerError {
  const problem = parseProblem(answer.text);
  const seconds = Number(answer.retryAfter ?? Number.NaN);
  const code = problem.code ?? `HTTP_${answer.status}`;
  return new PeerError({
    peer,
    status: answer.status,
    code,
    retryable: isRetryable(answer.status, code),
    outcomeUnknown: isUnknown(answer.status, code),
    ...(problem.detail === undefined ? {} : { detail: problem.detail }),
    ...(Number.isFinite(seconds) ? { retryAfterMs: seconds * 1000 } : {}),
  });
}

/**
 * What an error says about the peer: a problem document is an answer, of a peer that is well. Silence, a
 * broken connection and a defect (500, or what some proxy says) are failures.
 */
export function classifyPeerError(error: unknown): FailureVerdict {
  if (!(error instanceof PeerError) || !error.retryable) return { kind: "permanent" };
  const { status, code, retryAfterMs } = error;
  const isFailure = status === undefined || status === 500 || code.startsWith("HTTP_5");
  return {
    kind: isFailure ? "transient" : "busy",
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

function isRetryable(status: number, code: string): boolean {
  return code === "IDEMPOTENCY_IN_PROGRESS" || status === 429 || (status >= 500 && status !== 501);
}

/** 429, 501 and 503 refuse before anything happens; any other 5xx may come after the commit. */
function isUnknown(status: number, code: string): boolean {
  return code === "IDEMPOTENCY_IN_PROGRESS" || (status >= 500 && ![501, 503].includes(status));
}

function connectionCode(error: unknown): "UNREACHABLE" | "TIMED_OUT" | "DISCONNECTED" {
  const code = errorCode(error);
  if (neverSent.has(code)) return "UNREACHABLE";
  const timedOut = code.endsWith("_TIMEOUT") || errorName(error) === "TimeoutError";
  return timedOut ? "TIMED_OUT" : "DISCONNECTED";
}

const neverSent: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

function errorCode(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  // Node tries IPv6 and IPv4 and reports both; they are the same refusal.
  if (error instanceof AggregateError) return errorCode(error.errors[0]);
  return "code" in error && typeof error.code === "string" ? error.code : "";
}

function errorName(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

function parseProblem(text: string): { readonly code?: string; readonly detail?: string } {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return {};
    return {
      ...("code" in value && typeof value.code === "string" ? { code: value.code } : {}),
      ...("detail" in value && typeof value.detail === "string" ? { detail: value.detail } : {}),
    };
  } catch {
    return {};
  }
}
