import { DureError } from "../core/errors.ts";
import type { MessageContext } from "../core/message.ts";
import { answerFromReply } from "./answer.ts";
import type { Reply, ReplyLimits } from "./answer.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { readIdempotencyKey } from "./idempotency-key.ts";
import type { IdempotencySettings } from "./idempotency-options.ts";
import { answerOfProblem, keyProblem } from "./key-problem.ts";
import type { KeyProblem } from "./key-problem.ts";
import type { Answer, KeyedRequests, Work, Worked } from "./keyed-request.ts";

/** A request as an adapter describes it. */
export interface IncomingRequest<Request> {
  /** The framework's own, for the options' functions. */
  readonly request: Request;
  readonly method: string;
  /** Path and query as they were sent. */
  readonly route: string;
  /** All values of a header, each as it was sent. */
  readonly header: (name: string) => readonly string[];
  /** The body: bytes, or a value of JSON. */
  readonly content: unknown;
  /** Ends a wait for another request, and not the work. */
  readonly signal?: AbortSignal | undefined;
}

/** What a handler is told beside the request. */
export interface HandlerFacts {
  /** The caller's key; undefined where none is required and none was sent. */
  readonly idempotencyKey: string | undefined;
}

/** Carries the request out, with what its store hands to it. */
export type AnswerWork<Context> = (facts: HandlerFacts & Context) => Promise<Reply>;

/** What {@link answerOnce} takes. */
export interface AnswerOnce<Request, Context> {
  readonly keys: KeyedRequests<Context>;
  readonly settings: IdempotencySettings<Request>;
  readonly incoming: IncomingRequest<Request>;
  readonly work: AnswerWork<Context>;
  readonly serialize?: ReplyLimits["serialize"];
}

/**
 * Answers an HTTP request once per principal and key, whatever the framework: what every adapter calls. The
 * answer is complete: problems of the key are answers too, and a replay says so by `Idempotent-Replayed: true`.
 *
 * @throws what the handler throws, after its writes are undone; and as {@link KeyedRequests.once}
 * @throws ANSWER_NOT_STORABLE when the handler's answer cannot be stored: nothing was committed
 */
export async function answerOnce<Request, Context>(
  parts: AnswerOnce<Request, Context>,
): Promise<Answer> {
  const { keys, settings, incoming } = parts;
  const { leaseMs, keepMs, waitMsMax } = settings;
  const read = readIdempotencyKey(incoming.header);
  if (read.kind === "invalid") {
    return refuse(parts, keyProblem("IDEMPOTENCY_KEY_INVALID", read.reason));
  }
  const context = contextOf(parts);
  if (read.kind === "missing") {
    if (!settings.required) {
      return keys.unkeyed(workOf(parts, undefined), { leaseMs, context });
    }
    const detail =
      "Send an Idempotency-Key header: a new key for each action, the same for a repeat.";
    return refuse(parts, keyProblem("IDEMPOTENCY_KEY_MISSING", detail));
  }
  const { key } = read;
  const scope = settings.principal(incoming.request);
  if (typeof scope !== "string" || scope.length > 1_000 || /[\0\p{Surrogate}]/u.test(scope)) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "idempotent: principal must give a name of at most 1,000 characters",
    );
  }
  const fingerprint = fingerprintIn(parts, scope);
  if (fingerprint === undefined) {
    return refuse(parts, keyProblem("VALIDATION_FAILED", "The body is nested too deep."));
  }
  const route = `${incoming.method.toUpperCase()} ${incoming.route}`.slice(0, 500);
  const outcome = await keys.once(
    { scope, key, fingerprint, route: storableText(route), leaseMs, keepMs, context },
    workOf(parts, key),
    { waitMsMax, signal: incoming.signal },
  );
  switch (outcome.kind) {
    case "executed":
    case "undone":
      return outcome.answer;
    case "replayed":
      return replayed(outcome.answer);
    case "in_flight": {
      const detail = "The same request is being carried out; send it again for its answer.";
      return refuse(parts, keyProblem("IDEMPOTENCY_IN_PROGRESS", detail, outcome.retryAfterMs));
    }
    case "mismatch": {
      const detail = "The key came with another request before.";
      return refuse(parts, keyProblem("IDEMPOTENCY_KEY_REUSED", detail));
    }
  }
}

function fingerprintIn<Request, Context>(
  { settings, incoming }: AnswerOnce<Request, Context>,
  principal: string,
): string | undefined {
  const { request, method, route } = incoming;
  const content = settings.content === undefined ? incoming.content : settings.content(request);
  try {
    return fingerprintOf({ method, route, principal, content });
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** The handler, with its answer as bytes and the decision of what is kept. */
function workOf<Request, Context>(
  { settings, incoming, work, serialize }: AnswerOnce<Request, Context>,
  idempotencyKey: string | undefined,
): Work<Context> {
  const { answerBytesMax, isStored, replayedHeaders, replyOfError } = settings;
  return async (context): Promise<Worked> => {
    let reply: Reply;
    try {
      reply = await work({ ...context, idempotencyKey });
    } catch (error) {
      const turned = replyOfError?.(error, incoming.request);
      if (turned === undefined) throw error;
      // What an error has done is never kept, whatever status it is answered with.
      reply = turned.status < 400 ? notAnError(turned, error) : turned;
    }
    const answer = await answerFromReply(reply, { answerBytesMax, serialize });
    const { status } = answer;
    const headers = answer.headers.filter(([name]) => replayedHeaders.has(name));
    const stored = status < 500 && isStored(status) ? { ...answer, headers } : undefined;
    return { answer, stored, keepsWrites: status < 400 };
  };
}

function notAnError({ status }: Reply, cause: unknown): never {
  throw new DureError(
    "CONFIGURATION_INVALID",
    `idempotent: replyOfError must answer with a status of 400 or more, got ${status}`,
    { cause },
  );
}

async function refuse<Request, Context>(
  { settings, incoming }: AnswerOnce<Request, Context>,
  problem: KeyProblem,
): Promise<Answer> {
  const { replyOfProblem, answerBytesMax } = settings;
  if (replyOfProblem === undefined) return answerOfProblem(problem);
  return answerFromReply(replyOfProblem(problem, incoming.request), { answerBytesMax });
}

/** The answer as it is given to whoever sends the request again. */
function replayed({ status, headers, body }: Answer): Answer {
  return { status, headers: [...headers, ["idempotent-replayed", "true"]], body };
}

function contextOf<Request, Context>({
  settings,
  incoming,
}: AnswerOnce<Request, Context>): MessageContext | undefined {
  if (settings.context !== undefined) return settings.context(incoming.request);
  const [traceparent] = incoming.header("traceparent");
  const isValid = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(traceparent ?? "");
  return isValid && traceparent !== undefined ? { traceparent } : undefined;
}

/** A cut may halve a character, and PostgreSQL stores neither halves nor NUL. */
function storableText(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\u2400");
}
