import type { IncomingMessage, ServerResponse } from "node:http";
import { readWithin } from "../../idempotency/answer.ts";
import type { Answer } from "../../idempotency/keyed-request.ts";

/** The part of an Express request that is used, beside Node's own. */
export interface ExpressRequestShape extends IncomingMessage {
  readonly originalUrl: string;
  body?: unknown;
}

/** Past everything that would make something else of the bytes. */
export function sendAnswer(response: ServerResponse, { status, headers, body }: Answer): void {
  response.statusCode = status;
  for (const [name, pairs] of Map.groupBy(headers, ([each]) => each)) {
    const values = pairs.map(([, value]) => value);
    response.setHeader(name, values.length > 1 ? values : (values[0] ?? ""));
  }
  response.end(Buffer.from(body.buffer, body.byteOffset, body.byteLength));
}

/** The body as a parser left it, or read here as bytes. */
export async function contentOf(
  request: ExpressRequestShape,
  bytesMax: number,
): Promise<{ readonly body: unknown } | "too-large"> {
  const isUnread = request.body === undefined && !request.readableEnded;
  if (isUnread) {
    const read = await readWithin(request, bytesMax);
    if (read === "too-large") return read;
    if (read.byteLength > 0) request.body = read;
  }
  return { body: request.body ?? new Uint8Array() };
}
