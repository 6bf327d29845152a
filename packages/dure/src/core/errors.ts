/** Every code that a {@link DureError} can carry. The list is closed: programs may switch over it. */
export const errorCodes = [
  "ANSWER_NOT_STORABLE",
  "ARCHIVE_MISMATCH",
  "ASSERTION_FAILED",
  "BROKER_DATA_LOST",
  "BREAKER_OPEN",
  "BROKER_UNAVAILABLE",
  "BULKHEAD_FULL",
  "CALL_OUTCOME_UNKNOWN",
  "CALL_TIMED_OUT",
  "COMMIT_IN_DOUBT",
  "COMMIT_REFUSED",
  "CONFIGURATION_INVALID",
  "DATABASE_UNAVAILABLE",
  "DEAD_LETTER_NOT_FOUND",
  "DEDUP_HORIZON_TOO_SHORT",
  "EMBEDDED_POSTGRES_FAILED",
  "EMBEDDED_POSTGRES_IN_USE",
  "EVENT_INVALID",
  "EVENT_STUCK",
  "FENCED",
  "HANDLER_DIED",
  "KEY_INVALID",
  "LEASE_LOST",
  "LOCK_REENTERED",
  "LOCK_TIMED_OUT",
  "MESSAGE_UNREADABLE",
  "MESSAGE_VERSION_UNSUPPORTED",
  "MIGRATION_CHANGED",
  "MIGRATION_FAILED",
  "NOT_IN_TRANSACTION",
  "OUTBOX_BUSY",
  "OUTBOX_SEQUENCE_SET_BACK",
  "PERMANENT",
  "PERMIT_LOST",
  "PERMIT_TIMED_OUT",
  "REDIS_UNAVAILABLE",
  "RELAY_NEEDS_WAL",
  "RETRYABLE",
  "SCENARIO_FAILED",
  "SCHEMA_MISSING",
  "SCHEMA_TOO_NEW",
  "SAGA_COMMAND_REFUSED",
  "SAGA_ID_REUSED",
  "SAGA_INPUT_INVALID",
  "SAGA_NOT_FOUND",
  "SEMAPHORE_LINE_FULL",
  "SEMAPHORE_NOT_FOUND",
  "STEP_COMPENSATED",
  "STEP_REFUSED",
  "STEP_RESULT_INVALID",
  "STEP_TIMED_OUT",
  "STOPPED",
  "TABLELESS_OFF",
  "TOO_MANY_KEYS",
  "TRANSACTION_ENDED",
  "TRANSACTION_TIMED_OUT",
  "UNKNOWN_MESSAGE_TYPE",
  "VERSION_CONFLICT",
  "WAL_SLOT_LOST",
  "WAL_UNAVAILABLE",
] as const;

/** A member of {@link errorCodes}. */
export type ErrorCode = (typeof errorCodes)[number];

/** Known to every copy of the library, so that the guard works where two are installed. */
const brand = "isDureError";

/** The one error class that the library throws when a promise could not be kept. Steer by `code`, never by message. */
export class DureError extends Error {
  override readonly name: string = "DureError";
  readonly code: ErrorCode;
  readonly isDureError = true;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Tells a {@link DureError} (optionally of one code) from anything else, across duplicate copies of the library. */
export function isDureError(error: unknown, code?: ErrorCode): error is DureError {
  const isOurs = typeof error === "object" && error !== null && brand in error;
  return isOurs && (code === undefined || (error as DureError).code === code);
}

/** Thrown by a handler to say: trying again cannot help. The message goes to the dead letters at once. */
export class PermanentError extends DureError {
  override readonly name: string = "PermanentError";

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super("PERMANENT", message, options);
  }
}

/**
 * Thrown by a step to say that it did not happen and will not: what was done before it is compensated. A
 * participant's barrier throws it for a step that was refused before.
 */
export class StepRefusedError extends DureError {
  override readonly name: string = "StepRefusedError";
  /** Why, in a word of the domain: the saga's reason. */
  readonly reason: string;

  constructor(reason: string, message: string, options?: { readonly cause?: unknown }) {
    super("STEP_REFUSED", message, options);
    this.reason = reason;
  }
}

/** Thrown by a handler to say: try again, and not before `retryAfterMs` (milliseconds) have passed. */
export class RetryableError extends DureError {
  override readonly name: string = "RetryableError";
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options?: { readonly retryAfterMs?: number; readonly cause?: unknown },
  ) {
    super("RETRYABLE", message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

/** Stops a loop whose invariant is broken: such an error is a defect of the library and is never retried. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new DureError("ASSERTION_FAILED", message);
}

/** One line about any thrown value, safe for logs and tables: no stack, bounded length, and only characters that a database takes. */
export function describeError(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const short = text.length > 500 ? `${text.slice(0, 497)}...` : text;
  // A cut may halve a character, and PostgreSQL stores neither halves nor NUL.
  return short.toWellFormed().replaceAll("\0", "\u2400");
}
