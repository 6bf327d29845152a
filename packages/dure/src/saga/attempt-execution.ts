import { DureError, describeError, isDureError } from "../core/errors.ts";
import type { RetryableError, StepRefusedError } from "../core/errors.ts";
import type { AttemptOutcome } from "./saga-attempt.ts";

/** One line, of bounded length, whatever it is. */
export function failureOf(error: unknown): { readonly code: string; readonly error: string } {
  const code = isDureError(error) ? error.code : codeOf(error);
  return { code, error: describeError(error) };
}

function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === "string" && /^[A-Za-z0-9_]{1,64}$/.test(code) ? code : "STEP_FAILED";
}

/** What an error of a step's code says. `isUnknown`: whether the step may have had its effect all the same. */
export function outcomeOfError(error: unknown, isUnknown: boolean): AttemptOutcome {
  if (isDureError(error, "STEP_REFUSED")) {
    return {
      kind: "refused",
      code: (error as StepRefusedError).reason,
      error: describeError(error),
    };
  }
  return {
    kind: "failed",
    ...failureOf(error),
    isUnknown,
    isFinal: isDureError(error, "PERMANENT") || isDureError(error, "STEP_RESULT_INVALID"),
    retryAfterMs: isDureError(error, "RETRYABLE")
      ? (error as RetryableError).retryAfterMs
      : undefined,
  };
}

/** Characters of JSON that a step's result, or a saga's input or output, may have. */
export const jsonLengthMax = 65_536;

/**
 * The value as the journal will give it back, so that a saga reads the same before and after a restart.
 * @throws STEP_RESULT_INVALID when JSON cannot carry it, or it is too long
 */
export function asStored(what: string, value: unknown): unknown {
  if (value === undefined || value === null || typeof value === "boolean") return value;
  let text: string | undefined;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch (cause) {
    throw new DureError("STEP_RESULT_INVALID", `${what} cannot be stored as JSON`, { cause });
  }
  if (text === undefined) {
    throw new DureError("STEP_RESULT_INVALID", `${what} cannot be stored as JSON`);
  }
  if (text.length > jsonLengthMax) {
    const limits = `it has ${text.length} characters of JSON, at most ${jsonLengthMax} are allowed`;
    throw new DureError("STEP_RESULT_INVALID", `${what} is too long: ${limits}; keep a reference`);
  }
  if (unreadable.test(text)) {
    throw new DureError(
      "STEP_RESULT_INVALID",
      `${what} holds a NUL or half a character, which PostgreSQL cannot read out of JSON`,
    );
  }
  return typeof value === "string" ? value : deepFreeze(JSON.parse(text));
}

/** What `JSON.stringify` writes as an escape and PostgreSQL refuses to decode; an escaped backslash before it is none. */
const unreadable = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/;

/** Frozen to the bottom: JSON has no cycles. */
export function deepFreeze(value: unknown): unknown {
  if (typeof value === "object" && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member);
    Object.freeze(value);
  }
  return value;
}

/** An attempt as its work sees it. */
export interface Attempt {
  /** Made when it is asked for: most steps never look at it. */
  signal(): AbortSignal;
  /**
   * From here on its outcome is decided elsewhere, and waited for however long it takes.
   * @throws STEP_TIMED_OUT when it was given up before
   */
  hold(): void;
}

/** Runs the work, and waits for it no longer than `ms`, unless it is held by then; its signal has aborted then. */
export async function withinTime<Value>(
  ms: number,
  parent: AbortSignal,
  work: (attempt: Attempt) => Promise<Value>,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    let controller: AbortController | undefined;
    let isHeld = false;
    let givenUp: unknown;
    const giveUp = (reason: unknown): void => {
      controller?.abort(reason);
      if (isHeld) return;
      givenUp = reason;
      reject(reason as Error);
    };
    const late = (): void =>
      giveUp(new DureError("STEP_TIMED_OUT", `no answer within ${ms} ms: its outcome is unknown`));
    const timer = setTimeout(late, ms);
    const onParent = (): void => giveUp(parent.reason);
    const over = (): void => {
      clearTimeout(timer);
      if (controller !== undefined) parent.removeEventListener("abort", onParent);
    };
    const signal = (): AbortSignal => {
      if (controller === undefined) {
        controller = new AbortController();
        if (parent.aborted) controller.abort(parent.reason);
        else parent.addEventListener("abort", onParent, { once: true });
      }
      return controller.signal;
    };
    const hold = (): void => {
      if (givenUp !== undefined) throw givenUp as Error;
      isHeld = true;
    };
    work({ signal, hold }).then(
      (value) => {
        over();
        resolve(value);
      },
      (error: unknown) => {
        over();
        reject(error as Error);
      },
    );
  });
}
