import { readWithin } from "../../idempotency/answer.ts";
import type { Reply } from "../../idempotency/answer.ts";
import { answerOnce } from "../../idempotency/answer-once.ts";
import type { HandlerFacts } from "../../idempotency/answer-once.ts";
import { readIdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import { answerOfProblem, keyProblem } from "../../idempotency/key-problem.ts";
import type { IdempotentService } from "../../idempotency/keyed-request.ts";
import { incomingOf, replyOf, responseOf } from "../fetch-answer.ts";

/** What a handler is given: the request, with its body still to be read, and what the store hands to it. */
export type FetchInput<Context> = { readonly request: Request } & HandlerFacts & Context;

/**
 * A fetch handler (`Request` in, `Response` out) that carries each request out once per principal and key. The
 * wrapper owns the transaction: what the handler writes and emits through `tx` commits together with the key
 * and the answer, or not at all. The handler returns a `Response`, whose body is read to its end before
 * COMMIT, or status, headers and body. A status of 400 or more takes all writes back.
 *
 * A caller that hangs up changes nothing: the work goes on, and a repeat gets its answer.
 *
 * @throws what the handler throws, ANSWER_NOT_STORABLE, and as `KeyedRequests.once`
 * @throws CONFIGURATION_INVALID at once, naming every mistake in the options
 */
export function idempotent<Context>(
  service: IdempotentService<Context>,
  options: IdempotencyOptions<Request>,
  handler: (input: FetchInput<Context>) => Promise<Reply | Response>,
): (request: Request) => Promise<Response> {
  const settings = readIdempotencyOptions(options);
  const { answerBytesMax, bodyBytesMax } = settings;
  return async (request) => {
    const body = await bodyWithin(request, bodyBytesMax);
    if (body === "too-large") {
      const detail = `A body may have ${bodyBytesMax} bytes.`;
      return responseOf(answerOfProblem(keyProblem("PAYLOAD_TOO_LARGE", detail)));
    }
    const answer = await answerOnce({
      keys: service.idempotency,
      settings,
      incoming: incomingOf(request, request, body),
      work: async (facts) => {
        // Its body can be read again, and its signal is not the caller's: the work goes on without the caller.
        const { url, method, headers } = request;
        const again = new Request(url, { method, headers, ...(body !== undefined && { body }) });
        const replied = await handler({ ...facts, request: again });
        return replied instanceof Response ? replyOf(replied, answerBytesMax) : replied;
      },
    });
    return responseOf(answer);
  };
}

async function bodyWithin(
  request: Request,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | undefined | "too-large"> {
  if (request.body === null) return undefined;
  const read = await readWithin(request.body, bytesMax);
  return read === "too-large" ? read : Uint8Array.from(read);
}
