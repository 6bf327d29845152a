import { DureError, PermanentError, RetryableError, StepRefusedError } from "../../core/errors.ts";

/** What a callee answered that was not 2xx. */
export interface RefusingAnswer {
  readonly status: number;
  /** The `code` of its problem document. */
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
  /** From `Retry-After`, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
}

/** Codes of a callee that say "it did not happen and will not", and the saga's reason for each. */
export type Refusals = Readonly<Record<string, string>>;

/**
 * It is not known whether the callee has done what it was asked for: no answer came, or one that may follow a commit.
 * Ask again with the same key, or compensate by it. A step that throws it is tried again.
 */
export class CallOutcomeUnknownError extends DureError {
  override readonly name: string = "CallOutcomeUnknownError";
  /** Undefined when no answer came. */
  readonly status: number | undefined;

  constructor(
    message: string,
    facts: { readonly status?: number | undefined; readonly cause?: unknown } = {},
  ) {
    super("CALL_OUTCOME_UNKNOWN", message, { cause: facts.cause });
    this.status = facts.status;
  }
}

/** What a step throws for an answer. */
export type AnswerError =
  | StepRefusedError
  | RetryableError
  | PermanentError
  | CallOutcomeUnknownError;

/** Answers that a token, a deployment or a moment later may change. */
const passing: ReadonlySet<number> = new Set([401, 403, 404, 408, 409, 423, 425, 429]);

/**
 * The error by which a step says what an answer means, in this order:
 *
 * | Answer | Error |
 * |---|---|
 * | 4xx with a code of `refusals` | `StepRefusedError` with the reason of the code |
 * | 409 `STEP_COMPENSATED` | `StepRefusedError`: it was undone before it came, and will not happen |
 * | 409 `IDEMPOTENCY_IN_PROGRESS`, 429, 503, and whatever says `Retry-After` | `RetryableError` with the pause |
 * | any other 5xx but 501 | `CallOutcomeUnknownError`: it may have come after the commit |
 * | 401, 403, 404, 408, 409, 423, 425 | `RetryableError`: a token, a deployment or a moment later may change it |
 * | the rest: 3xx, 4xx, 501 | `PermanentError`: the same call would bring the same |
 */
export function errorOfAnswer(answer: RefusingAnswer, refusals: Refusals = {}): AnswerError {
  const { status, code = "", detail, retryAfterMs } = answer;
  const said = `${status}${code === "" ? "" : ` ${code}`}${detail === undefined ? "" : `: ${detail}`}`;
  const isRefusal = status >= 400 && status <= 499;
  const reason = isRefusal && Object.hasOwn(refusals, code) ? refusals[code] : undefined;
  if (reason !== undefined) return new StepRefusedError(reason, said);
  if (status === 409 && code === "STEP_COMPENSATED") return new StepRefusedError(code, said);
  const pause = retryAfterMs === undefined ? {} : { retryAfterMs };
  if (retryAfterMs !== undefined && status >= 400) return new RetryableError(said, pause);
  if (status === 503 || passing.has(status)) return new RetryableError(said);
  if (status >= 500 && status !== 501) return new CallOutcomeUnknownError(said, { status });
  return new PermanentError(said);
}

/**
 * The pause that `Retry-After` asks for, in milliseconds, at most a day: seconds, or a date, which is compared with the
 * answer's own `Date`, so that no clock of ours matters. Undefined: there is none that can be read.
 */
export function readRetryAfter(headers: Pick<Headers, "get">): number | undefined {
  const value = headers.get("retry-after")?.trim();
  if (value === undefined || value === "") return undefined;
  const ms = /^\d+$/.test(value)
    ? Number(value) * 1_000
    : Date.parse(value) - Date.parse(headers.get("date") ?? "");
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), dayMs);
}

const dayMs = 86_400_000;
