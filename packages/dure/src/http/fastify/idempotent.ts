import { notStorable } from "../../idempotency/answer.ts";
import type { Reply } from "../../idempotency/answer.ts";
import { answerOnce } from "../../idempotency/answer-once.ts";
import type { HandlerFacts } from "../../idempotency/answer-once.ts";
import { readIdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotentService } from "../../idempotency/keyed-request.ts";
import { headerValues } from "../raw-headers.ts";
import { sendAnswer } from "./fastify-exchange.ts";
import type { FastifyReplyShape, FastifyRequestShape } from "./fastify-exchange.ts";

/** What a handler is given. It returns its answer; the reply is not for it. */
export type FastifyInput<Request, Context> = { readonly request: Request } & HandlerFacts & Context;

/**
 * A Fastify handler that carries each request out once per principal and key. The wrapper owns the transaction:
 * what the handler writes and emits through `tx` commits together with the key and the answer, or not at all.
 * The handler returns status, headers and body; the body goes through the route's response schema before
 * COMMIT. A status of 400 or more takes all writes back.
 *
 * The body has been parsed, and validated, before: the fingerprint is of what the handler sees. A caller that hangs
 * up changes nothing: the work goes on, and a repeat gets its answer.
 *
 * @throws what the handler throws, ANSWER_NOT_STORABLE, and as `KeyedRequests.once`: Fastify's error handler answers
 * @throws CONFIGURATION_INVALID at once, naming every mistake in the options
 */
export function idempotent<Request extends FastifyRequestShape, Context>(
  service: IdempotentService<Context>,
  options: IdempotencyOptions<Request>,
  handler: (input: FastifyInput<Request, Context>) => Promise<Reply>,
): <Incoming extends Request>(request: Incoming, reply: FastifyReplyShape) => Promise<void> {
  const settings = readIdempotencyOptions(options);
  return async (request, reply) => {
    const answer = await answerOnce<Request, Context>({
      keys: service.idempotency,
      settings,
      incoming: {
        request,
        method: request.method,
        route: request.url,
        header: (name) => headerValues(request.raw.rawHeaders, name),
        content: request.body ?? new Uint8Array(),
      },
      work: async (facts) => {
        const replied = await handler({ ...facts, request });
        if (reply.sent) throw notStorable("a handler answered through the reply itself");
        return replied;
      },
      serialize(value, code) {
        reply.code(code);
        const data = reply.serialize(value);
        return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
      },
    });
    sendAnswer(reply, answer);
    return reply as unknown as void;
  };
}
