import { isUtf8 } from "node:buffer";
import { notStorable } from "../../idempotency/answer.ts";
import type { Reply } from "../../idempotency/answer.ts";
import { answerOnce } from "../../idempotency/answer-once.ts";
import type { HandlerFacts } from "../../idempotency/answer-once.ts";
import { readIdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotencyOptions } from "../../idempotency/idempotency-options.ts";
import type { IdempotentService } from "../../idempotency/keyed-request.ts";
import { headerValues } from "../raw-headers.ts";

/** The part of a Fastify request that is used. */
export interface FastifyRequestShape {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly url: string;
  readonly body: unknown;
  readonly raw: { readonly rawHeaders: readonly string[] };
}

/** The part of a Fastify reply that is used. */
export interface FastifyReplyShape {
  readonly sent: boolean;
  code(status: number): unknown;
  header(name: string, value: unknown): unknown;
  /** Makes text of a body by the schema that the route has for the status. */
  serialize(body: unknown): string | ArrayBuffer | Buffer;
  send(body?: unknown): unknown;
}

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
    const { status, headers, body } = await answerOnce<Request, Context>({
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
    reply.code(status);
    const values = Map.groupBy(headers, ([name]) => name);
    for (const [name, pairs] of values) {
      const list = pairs.map(([, value]) => value);
      reply.header(name, list.length > 1 ? list : list[0]);
    }
    reply.send(body.byteLength === 0 ? undefined : payloadOf(body));
    return reply as unknown as void;
  };
}

/** The bytes as they are. As text where they are text, which Node sends in one piece with the headers. */
function payloadOf(body: Uint8Array): string | Buffer {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return isUtf8(bytes) && bytes.byteLength <= textBytesMax ? bytes.toString() : bytes;
}

const textBytesMax = 65_536;
