import { describeError, isDureError } from "../core/errors.ts";
import type { Failure } from "../core/parking.ts";

/** What follows a failure, if trying again can help. */
export interface NextAttempt {
  /** Attempts in all. */
  readonly attempts: number;
  readonly waitMs: number;
}

/** What is recorded of an attempt that failed. `failures`: with this one. */
export function failureOf(error: unknown, failures: number, next: NextAttempt): Failure {
  const isPermanent = permanentCodes.some((code) => isDureError(error, code));
  const retryAfterMs = (error as { readonly retryAfterMs?: unknown } | null)?.retryAfterMs;
  return {
    code: isDureError(error) ? error.code : codeOf(error),
    error: describeError(error),
    isFinal: isPermanent || failures >= next.attempts,
    retryInMs: Math.max(next.waitMs, typeof retryAfterMs === "number" ? retryAfterMs : 0),
  };
}

/** The delays of retry topics as attempts; past the last, when a dead letter's copy could not be left, the last again. */
export function delayOf(delaysMs: readonly number[], failures: number): NextAttempt {
  const waitMs = delaysMs[failures - 1] ?? delaysMs.at(-1) ?? 0;
  return { attempts: delaysMs.length + 1, waitMs };
}

/** Trying again cannot help. */
const permanentCodes = [
  "PERMANENT",
  "HANDLER_DIED",
  "UNKNOWN_MESSAGE_TYPE",
  "MESSAGE_UNREADABLE",
  "MESSAGE_VERSION_UNSUPPORTED",
] as const;

function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === "string" ? code.slice(0, 64) : "HANDLER_FAILED";
}
