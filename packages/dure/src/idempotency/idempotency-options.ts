import { DureError } from "../core/errors.ts";
import type { MessageContext } from "../core/message.ts";
import type { Reply } from "./answer.ts";
import type { KeyProblem } from "./key-problem.ts";

/** How a route treats keys. `Request` is the framework's. */
export interface IdempotencyOptions<Request> {
  /**
   * Who sends the request: keys are its own. Two principals that get one name here see each other's answers; a
   * principal that gets two names, because its token was renewed, is served twice. So: the user's or tenant's
   * id, and never the token. Where there are none, say so: `() => "anyone"`.
   */
  readonly principal: (request: Request) => string;
  /** `false`: a request without a key is carried out, once each time that it is sent. @defaultValue true */
  readonly required?: boolean;
  /**
   * How long a duplicate waits for the answer of the request that is running, in milliseconds, before it gets 409
   * with Retry-After; 0: it does not wait. @defaultValue 5000
   */
  readonly waitMsMax?: number;
  /** How long the request's transaction may take, in milliseconds; then it is ended and the key is free. @defaultValue 30000 */
  readonly leaseMs?: number;
  /** How long the answer is kept, in milliseconds. @defaultValue 24 hours */
  readonly keepMs?: number;
  /** The largest body of a request, where the adapter reads it. @defaultValue 1 MiB */
  readonly bodyBytesMax?: number;
  /** The largest body of an answer. @defaultValue 1 MiB */
  readonly answerBytesMax?: number;
  /** Headers of the answer that a replay has too, beside those of {@link replayedHeadersDefault}. */
  readonly replayedHeaders?: readonly string[];
  /**
   * Whether an answer with this status is stored. 5xx never is.
   * @defaultValue all but those that another try may change: 401, 403, 408, 409, 423, 425, 429
   */
  readonly isStored?: (status: number) => boolean;
  /** What stands for the body in the fingerprint: a JSON value, or bytes. @defaultValue the body */
  readonly content?: (request: Request) => unknown;
  /** What caused the events of the request's transaction. @defaultValue its `traceparent` */
  readonly context?: (request: Request) => MessageContext | undefined;
  /**
   * Turns an error of the handler into an answer, which is then stored like one that was returned. Undefined: the
   * error is thrown on, and nothing is stored. @defaultValue none is turned
   */
  readonly replyOfError?: (error: unknown, request: Request) => Reply | undefined;
  /** Answers a problem of the key in another way, or throws what the framework answers. */
  readonly replyOfProblem?: (problem: KeyProblem, request: Request) => Reply;
}

/** The options with the defaults filled in. */
export interface IdempotencySettings<Request> extends Required<
  Omit<
    IdempotencyOptions<Request>,
    "replayedHeaders" | "content" | "context" | "replyOfError" | "replyOfProblem"
  >
> {
  readonly replayedHeaders: ReadonlySet<string>;
  readonly content: IdempotencyOptions<Request>["content"];
  readonly context: IdempotencyOptions<Request>["context"];
  readonly replyOfError: IdempotencyOptions<Request>["replyOfError"];
  readonly replyOfProblem: IdempotencyOptions<Request>["replyOfProblem"];
}

/** The headers of an answer that a replay always has. */
export const replayedHeadersDefault: readonly string[] = [
  "content-type",
  "content-language",
  "content-location",
  "content-disposition",
  "etag",
  "last-modified",
  "link",
  "location",
];

const mebibyte = 1_048_576;
const dayMs = 86_400_000;
const passing: ReadonlySet<number> = new Set([401, 403, 408, 409, 423, 425, 429]);
/** A stored cookie would be a stored session; the others belong to one connection, not to an answer. */
const neverReplayed: ReadonlySet<string> = new Set(
  "set-cookie connection content-length keep-alive transfer-encoding upgrade".split(" "),
);

const known =
  "principal required waitMsMax leaseMs keepMs bodyBytesMax answerBytesMax replayedHeaders isStored content context replyOfError replyOfProblem".split(
    " ",
  );

/**
 * Fills in the defaults and checks everything.
 * @throws CONFIGURATION_INVALID naming every mistake at once
 */
export function readIdempotencyOptions<Request>(
  options: IdempotencyOptions<Request>,
): IdempotencySettings<Request> {
  const problems = Object.keys(options)
    .filter((name) => !known.includes(name))
    .map((name) => `${name}: is no option; there are ${known.join(", ")}`);
  if (typeof options.principal !== "function") {
    problems.push("principal: must be a function that says whose keys they are");
  }
  const { waitMsMax = 5_000, leaseMs = 30_000, keepMs = dayMs } = options;
  const { bodyBytesMax = mebibyte, answerBytesMax = mebibyte } = options;
  const range = (name: string, value: number, min: number, max: number): void => {
    if (Number.isInteger(value) && value >= min && value <= max) return;
    problems.push(`${name}: must be a whole number from ${min} to ${max}, got ${String(value)}`);
  };
  range("waitMsMax", waitMsMax, 0, 3_600_000);
  range("leaseMs", leaseMs, 100, 3_600_000);
  range("keepMs", keepMs, 1_000, 3_650 * dayMs);
  range("bodyBytesMax", bodyBytesMax, 0, 256 * mebibyte);
  range("answerBytesMax", answerBytesMax, 0, 64 * mebibyte);
  const replayed = (options.replayedHeaders ?? []).map((name) => name.toLowerCase());
  for (const name of replayed.filter((each) => neverReplayed.has(each))) {
    problems.push(`replayedHeaders: "${name}" must not be stored`);
  }
  if (problems.length > 0) {
    throw new DureError("CONFIGURATION_INVALID", `idempotent: ${problems.join("; ")}`);
  }
  return {
    principal: options.principal,
    required: options.required ?? true,
    waitMsMax,
    leaseMs,
    keepMs,
    bodyBytesMax,
    answerBytesMax,
    replayedHeaders: new Set([...replayedHeadersDefault, ...replayed]),
    isStored: options.isStored ?? ((status) => !passing.has(status)),
    content: options.content,
    context: options.context,
    replyOfError: options.replyOfError,
    replyOfProblem: options.replyOfProblem,
  };
}
