import type { Reply } from "../../idempotency/answer.ts";
import { answerOnce } from "../../idempotency/answer-once.ts";
import type { HandlerFacts } from "../../idempotency/answer-once.ts";
import { readIdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import { answerOfProblem, keyProblem } from "../../idempotency/key-problem.ts";
import type { IdempotentService } from "../../idempotency/keyed-request.ts";
import { incomingOf, replyOf, responseOf } from "../fetch-answer.ts";

/** The part of a Hono context that is used. */
export interface HonoContextShape {
  readonly req: { readonly raw: Request; arrayBuffer(): Promise<ArrayBuffer> };
}

/** What a handler is given: Hono's context, whose `req` can still be read, and what the store hands to it. */
export type HonoInput<Whole, Context> = { readonly c: Whole } & HandlerFacts & Context;

/**
 * A Hono handler that carries each request out once per principal and key: as the fetch handler of
 * `dure/http/fetch`, with Hono's context in the place of the request. Middleware and validators may have read
 * the body before. The handler returns what `c.json(…)` and its neighbours make, or status, headers and body.
 *
 * A body that comes in pieces without a length is read whole before it is measured: put Hono's `bodyLimit` in front.
 *
 * @throws what the handler throws, ANSWER_NOT_STORABLE, and as `KeyedRequests.once`: `app.onError` answers
 * @throws CONFIGURATION_INVALID at once, naming every mistake in the options
 */
export function idempotent<Whole extends HonoContextShape, Context>(
  service: IdempotentService<Context>,
  options: IdempotencyOptions<Whole>,
  handler: (input: HonoInput<Whole, Context>) => Promise<Reply | Response>,
): (c: Whole) => Promise<Response> {
  const settings = readIdempotencyOptions(options);
  const { answerBytesMax, bodyBytesMax } = settings;
  return async (c) => {
    const { raw } = c.req;
    const isAnnounced = Number(raw.headers.get("content-length") ?? 0) > bodyBytesMax;
    // Through Hono, which remembers it for whoever reads it next.
    const body = isAnnounced ? undefined : new Uint8Array(await c.req.arrayBuffer());
    if (body === undefined || body.byteLength > bodyBytesMax) {
      const detail = `A body may have ${bodyBytesMax} bytes.`;
      return responseOf(answerOfProblem(keyProblem("PAYLOAD_TOO_LARGE", detail)));
    }
    const answer = await answerOnce({
      keys: service.idempotency,
      settings,
      incoming: incomingOf(c, raw, body),
      work: async (facts) => {
        const replied = await handler({ ...facts, c });
        return replied instanceof Response ? replyOf(replied, answerBytesMax) : replied;
      },
    });
    return responseOf(answer);
  };
}
