import type { ServerResponse } from "node:http";
import { notStorable } from "../../idempotency/answer.ts";
import type { Reply } from "../../idempotency/answer.ts";
import { answerOnce } from "../../idempotency/answer-once.ts";
import type { HandlerFacts } from "../../idempotency/answer-once.ts";
import { readIdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import { answerOfProblem, keyProblem } from "../../idempotency/key-problem.ts";
import type { Answer, IdempotentService } from "../../idempotency/keyed-request.ts";
import { headerValues } from "../raw-headers.ts";
import { contentOf, sendAnswer } from "./express-exchange.ts";
import type { ExpressRequestShape } from "./express-exchange.ts";
import { recordResponse } from "./recorded-response.ts";

/** What a handler is given. */
export type ExpressInput<Request, Response, Context> = {
  readonly request: Request;
  /**
   * Answers into memory: what is sent through it reaches the caller after COMMIT, or not at all. The response of
   * the route itself must not be used.
   */
  readonly response: Response;
} & HandlerFacts &
  Context;

/**
 * An Express handler that carries each request out once per principal and key. The wrapper owns the transaction:
 * what the handler writes and emits through `tx` commits together with the key and the answer, or not at all.
 * The handler returns status, headers and body, or answers through `response` in any way that Express has:
 * `json`, `sendFile`, `end`, a stream. A status of 400 or more takes all writes back.
 *
 * Bodies are parsed by the middleware in front; a body that none has read is put into `request.body` as bytes. A
 * caller that hangs up changes nothing: the work goes on, and a repeat gets its answer. Errors go to `next`: what
 * the handler throws, ANSWER_NOT_STORABLE, and those of `KeyedRequests.once`.
 *
 * @throws CONFIGURATION_INVALID at once, naming every mistake in the options
 */
export function idempotent<
  Request extends ExpressRequestShape,
  Response extends ServerResponse,
  Context,
>(
  service: IdempotentService<Context>,
  options: IdempotencyOptions<Request>,
  handler: (input: ExpressInput<Request, Response, Context>) => Promise<Reply | void>,
): (request: Request, response: Response, next: (error: unknown) => void) => Promise<void> {
  const settings = readIdempotencyOptions(options);
  const { answerBytesMax, bodyBytesMax } = settings;
  const answerOf = async (request: Request, original: Response): Promise<Answer> => {
    const content = await contentOf(request, bodyBytesMax);
    if (content === "too-large") {
      const detail = `A body may have ${bodyBytesMax} bytes.`;
      return answerOfProblem(keyProblem("PAYLOAD_TOO_LARGE", detail));
    }
    return answerOnce({
      keys: service.idempotency,
      settings,
      incoming: {
        request,
        method: request.method ?? "GET",
        route: request.originalUrl,
        header: (name) => headerValues(request.rawHeaders, name),
        content: content.body,
      },
      async work(facts) {
        const recorded = recordResponse(request, original, answerBytesMax);
        const { response } = recorded;
        const replied = await handler({ ...facts, request, response });
        if (original.headersSent)
          throw notStorable("a handler answered through the route's own response");
        if (replied === undefined) return recorded.answered;
        if (recorded.isTouched())
          throw notStorable("a handler answered twice: by returning and by its response");
        return replied;
      },
    });
  };
  return async (request, original, next) => {
    try {
      sendAnswer(original, await answerOf(request, original));
    } catch (error) {
      next(error);
    }
  };
}
