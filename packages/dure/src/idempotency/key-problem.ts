import type { Answer } from "./keyed-request.ts";

/** The codes of what is wrong with a key or with its request. */
export type KeyProblemCode =
  | "IDEMPOTENCY_KEY_MISSING"
  | "IDEMPOTENCY_KEY_INVALID"
  | "IDEMPOTENCY_KEY_REUSED"
  | "IDEMPOTENCY_IN_PROGRESS"
  | "VALIDATION_FAILED"
  | "PAYLOAD_TOO_LARGE";

/** Why a request was not carried out, for the caller: `application/problem+json` (RFC 9457). */
export interface KeyProblem {
  readonly status: 400 | 409 | 413 | 422;
  readonly code: KeyProblemCode;
  readonly title: string;
  readonly detail: string;
  /** When it may be tried again, in milliseconds. */
  readonly retryAfterMs?: number;
}

/** The problem of that code. */
export function keyProblem(
  code: KeyProblemCode,
  detail: string,
  retryAfterMs?: number,
): KeyProblem {
  const { status, title } = kinds[code];
  return { status, code, title, detail, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

/** The problem as an answer. */
export function answerOfProblem({ retryAfterMs, ...problem }: KeyProblem): Answer {
  const headers: [string, string][] = [["content-type", "application/problem+json"]];
  if (retryAfterMs !== undefined) {
    headers.push(["retry-after", String(Math.max(1, Math.ceil(retryAfterMs / 1_000)))]);
  }
  const document = { type: "about:blank", ...problem };
  return { status: problem.status, headers, body: Buffer.from(JSON.stringify(document)) };
}

const kinds: Readonly<Record<KeyProblemCode, Pick<KeyProblem, "status" | "title">>> = {
  IDEMPOTENCY_KEY_MISSING: { status: 400, title: "Idempotency key missing" },
  IDEMPOTENCY_KEY_INVALID: { status: 400, title: "Idempotency key invalid" },
  VALIDATION_FAILED: { status: 400, title: "Validation failed" },
  IDEMPOTENCY_IN_PROGRESS: { status: 409, title: "The same request is in progress" },
  PAYLOAD_TOO_LARGE: { status: 413, title: "Payload too large" },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: "Idempotency key reused" },
};
