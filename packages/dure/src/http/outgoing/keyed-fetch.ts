import { RetryableError } from "../../core/errors.ts";
import { readWithin } from "../../idempotency/answer.ts";
import type { ClientKey, StepKey } from "../../idempotency/key-policies.ts";
import { CallOutcomeUnknownError, errorOfAnswer, readRetryAfter } from "./answer-error.ts";
import type { Refusals } from "./answer-error.ts";
import { callHeaders } from "./call-headers.ts";
import type { CallFacts } from "./call-headers.ts";

/** Who calls: the `call` that a step or a compensation was handed, or a client with a key of its own. */
export type Caller =
  | (CallFacts & { readonly sagaId: string; readonly signal: AbortSignal })
  | {
      readonly key: ClientKey | StepKey;
      readonly compensates?: StepKey;
      readonly traceparent?: string;
      readonly signal: AbortSignal;
    };

/** One call. */
export interface KeyedFetchOptions {
  /** @defaultValue POST */
  readonly method?: "POST" | "PUT" | "PATCH" | "DELETE";
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is, where there is no `json`. Not a stream: a repeat must be able to send it again. */
  readonly body?: string | Uint8Array<ArrayBuffer>;
  /** Beside those of the call, which win. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Codes of 4xx that say no for good, and the saga's reason for each. Of a compensation: none. */
  readonly refusals?: Refusals;
  /** The end of the key, after a slash, of a step that makes several calls: no step has one in its own key. */
  readonly part?: string;
  /** The largest body of an answer, in bytes. @defaultValue 1 MiB */
  readonly answerBytesMax?: number;
  /** @defaultValue the global one */
  readonly fetch?: typeof globalThis.fetch;
}

/**
 * Sends a call of a saga's step by plain `fetch`, with its key, the key that it compensates, the saga's id, its
 * fencing token and trace in headers, and resolves to a 2xx answer, whose body has come whole. It asks once: the saga
 * repeats the step, with the same key, in whatever process, so the callee must carry a key out once. If the process
 * dies here the outcome is unknown, and the next owner asks again. Redirects are not followed: a POST would become a GET.
 *
 * Everything else is thrown as a step's code may throw it on: see {@link errorOfAnswer}, and
 *
 * @throws RETRYABLE when no connection could be made: nothing was begun
 * @throws CALL_OUTCOME_UNKNOWN when the answer did not come, broke off, or is larger than allowed
 * @throws PERMANENT when the key cannot be sent
 * @throws the signal's reason, when it has aborted: the outcome is unknown
 */
export async function keyedFetch(
  call: Caller,
  url: string | URL,
  options: KeyedFetchOptions = {},
): Promise<Response> {
  const { method = "POST", json, answerBytesMax = 1_048_576, refusals } = options;
  const headers = new Headers(options.headers);
  if (json !== undefined && !headers.has("content-type")) {
    headers.set("content-type", "application/json");
  }
  for (const [name, value] of Object.entries(callHeaders(partOf(call, options.part)))) {
    headers.set(name, value);
  }
  const body = json === undefined ? options.body : JSON.stringify(json);
  const request = { method, headers, redirect: "manual", signal: call.signal } as const;
  const init: RequestInit = { ...request, ...(body !== undefined && { body }) };
  const target = new URL(url);
  const answer = await whole(target, { ...options, answerBytesMax }, init).catch(
    (error: unknown) => {
      throw call.signal.aborted ? call.signal.reason : errorOfConnection(target, error);
    },
  );
  if (answer.ok) return answer;
  const problem = problemOf(await answer.text());
  const retryAfterMs = readRetryAfter(answer.headers);
  throw errorOfAnswer({ status: answer.status, ...problem, retryAfterMs }, refusals);
}

function partOf(call: Caller, part: string | undefined): CallFacts {
  const { key, compensates } = call;
  if (part === undefined) return call;
  const undone = compensates === undefined ? undefined : `${compensates}/${part}`;
  return { ...factsOf(call), key: `${key}/${part}`, compensates: undone };
}

/** By name: the facts of an attempt are not all its own properties. */
function factsOf(call: CallFacts): Omit<CallFacts, "key"> {
  const { sagaId, fencingToken, traceparent } = call;
  return { sagaId, fencingToken, traceparent };
}

/** The answer with all its body: one that breaks off says nothing. */
async function whole(
  url: URL,
  options: KeyedFetchOptions & { readonly answerBytesMax: number },
  init: RequestInit,
): Promise<Response> {
  const { fetch = globalThis.fetch, answerBytesMax } = options;
  const answer = await fetch(url, init);
  const { status, headers } = answer;
  if (answer.body === null) return answer;
  const bytes = await readWithin(answer.body, answerBytesMax);
  if (bytes === "too-large") {
    const what = `${url.host} answered ${status} with more than ${answerBytesMax} bytes`;
    throw new CallOutcomeUnknownError(what, { status });
  }
  return new Response(Uint8Array.from(bytes), { status, headers });
}

function errorOfConnection(url: URL, error: unknown): Error {
  if (error instanceof CallOutcomeUnknownError) return error;
  const code = connectionCode(error);
  if (neverSent.has(code)) {
    return new RetryableError(`${url.host} could not be reached (${code}); nothing was begun`, {
      cause: error,
    });
  }
  const what = `${url.host} did not answer; ask again with the same key`;
  return new CallOutcomeUnknownError(what, { cause: error });
}

const neverSent: ReadonlySet<string> = new Set(
  "ECONNREFUSED ENOTFOUND EAI_AGAIN EHOSTUNREACH ENETUNREACH UND_ERR_CONNECT_TIMEOUT".split(" "),
);

/** `fetch` wraps what happened, and with several addresses that wraps one error for each. */
function connectionCode(error: unknown, depth = 0): string {
  if (typeof error !== "object" || error === null || depth > 3) return "";
  if (error instanceof AggregateError) return connectionCode(error.errors[0], depth + 1);
  const { code, cause } = error as { readonly code?: unknown; readonly cause?: unknown };
  return typeof code === "string" ? code : connectionCode(cause, depth + 1);
}

function problemOf(text: string): { readonly code?: string; readonly detail?: string } {
  try {
    const value = JSON.parse(text) as { readonly code?: unknown; readonly detail?: unknown } | null;
    return {
      ...(typeof value?.code === "string" && { code: value.code.slice(0, 100) }),
      ...(typeof value?.detail === "string" && { detail: value.detail.slice(0, 500) }),
    };
  } catch {
    return {};
  }
}
