import { isUtf8 } from "node:buffer";
import type { Answer } from "../../idempotency/keyed-request.ts";

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

/** Sends it as it is. */
export function sendAnswer(
  reply: Pick<FastifyReplyShape, "code" | "header" | "send">,
  { status, headers, body }: Answer,
): void {
  reply.code(status);
  const values = Map.groupBy(headers, ([name]) => name);
  for (const [name, pairs] of values) {
    const list = pairs.map(([, value]) => value);
    reply.header(name, list.length > 1 ? list : list[0]);
  }
  reply.send(body.byteLength === 0 ? undefined : payloadOf(body));
}

/** The bytes as they are. As text where they are text, which Node sends in one piece with the headers. */
function payloadOf(body: Uint8Array): string | Buffer {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return isUtf8(bytes) && bytes.byteLength <= textBytesMax ? bytes.toString() : bytes;
}

const textBytesMax = 65_536;
