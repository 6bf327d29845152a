import { DureError, isDureError } from "../core/errors.ts";
import type { RetryableError } from "../core/errors.ts";

/**
 * What an error of a call says about the dependency. `permanent`: it has answered, and would answer the same again; that
 * is no failure of the dependency. `busy`: it has answered "not now", which is none either; the same call may succeed
 * later, not before `retryAfterMs` if it said so. `transient`: it has failed, and may not the next time.
 */
export type FailureVerdict =
  | { readonly kind: "permanent" }
  | { readonly kind: "busy" | "transient"; readonly retryAfterMs?: number };

/** A {@link PermanentError} is permanent; any other error is transient, a {@link RetryableError} with its pause. */
export function classifyFailure(error: unknown): FailureVerdict {
  if (isDureError(error, "PERMANENT")) return { kind: "permanent" };
  if (isDureError(error, "RETRYABLE")) {
    const { retryAfterMs } = error as RetryableError;
    return { kind: "transient", ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
  return { kind: "transient" };
}

/**
 * The call was not sent, because the dependency is to be left alone (`BREAKER_OPEN`) or this process has too many
 * calls to it under way (`BULKHEAD_FULL`). Answer 503 with Retry-After, or try again later.
 */
export class CallRefusedError extends DureError {
  override readonly name: string = "CallRefusedError";
  readonly dependency: string;
  /** When it is of use to ask again. */
  readonly retryAfterMs: number;

  constructor(
    code: "BREAKER_OPEN" | "BULKHEAD_FULL",
    facts: { readonly dependency: string; readonly retryAfterMs: number; readonly cause?: unknown },
  ) {
    const { dependency, retryAfterMs, cause } = facts;
    const why =
      code === "BREAKER_OPEN"
        ? "too many calls have failed lately, and it is left alone for a while"
        : "too many calls to it are under way in this process";
    super(code, `"${dependency}" was not asked: ${why}; nothing was begun. Try again later`, {
      cause,
    });
    this.dependency = dependency;
    this.retryAfterMs = retryAfterMs;
  }
}

/** An attempt that failed in a way that may pass; carries what the caller is to see in the end. */
export class TransientFailure extends Error {
  override readonly name = "TransientFailure";
  readonly error: unknown;
  readonly retryAfterMs: number;
  /** No failure of the dependency. */
  readonly isBusy: boolean;

  constructor(
    error: unknown,
    { retryAfterMs = 0, isBusy }: { readonly retryAfterMs?: number; readonly isBusy: boolean },
  ) {
    super("a call failed in a way that may pass", { cause: error });
    this.error = error;
    this.retryAfterMs = retryAfterMs;
    this.isBusy = isBusy;
  }
}

/** The caller's signal has aborted: it says nothing about the dependency, and nothing is repeated. */
export class CallAbandoned extends Error {
  override readonly name = "CallAbandoned";
}

/** The attempt took longer than it may. Whether it had its effect is not known. */
export function callTimedOut(dependency: string, timeoutMs: number): DureError {
  return new DureError(
    "CALL_TIMED_OUT",
    `"${dependency}" has not answered within ${timeoutMs} ms; whether the call had its effect is not known. Ask again with the same key`,
  );
}
