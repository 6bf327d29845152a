import { answerFromReply, notStorable } from "../idempotency/answer.ts";
import type { Reply } from "../idempotency/answer.ts";
import type { IncomingRequest } from "../idempotency/answer-once.ts";
import type { Answer } from "../idempotency/keyed-request.ts";

/** A fetch `Request` as the core wants it; `whole` is what the options' functions get. */
export function incomingOf<Whole>(
  whole: Whole,
  request: Request,
  body: Uint8Array | undefined,
): IncomingRequest<Whole> {
  const { pathname, search } = new URL(request.url);
  return {
    request: whole,
    method: request.method,
    route: `${pathname}${search}`,
    header: (name) => {
      const value = request.headers.get(name);
      return value === null ? [] : [value];
    },
    content: contentOf(request.headers.get("content-type") ?? "", body),
    signal: request.signal,
  };
}

/** JSON as a value, so that the order of its members says nothing; all else as it was sent. */
export function contentOf(type: string, body: Uint8Array | undefined): unknown {
  if (body === undefined || !/^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) {
    return body ?? new Uint8Array();
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as unknown;
  } catch {
    return body;
  }
}

/**
 * A `Response` as a reply, with its body read to the end.
 * @throws ANSWER_NOT_STORABLE when it is an error, an upgrade, was read before, or is too large
 */
export async function replyOf(response: Response, bytesMax: number): Promise<Reply> {
  if (response.type === "error" || response.status < 200) {
    throw notStorable("a handler answered with a response that is an error or an upgrade");
  }
  if (response.bodyUsed) throw notStorable("a handler answered with a response that was read");
  const headers: Record<string, string | readonly string[]> = Object.fromEntries(response.headers);
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) headers["set-cookie"] = cookies;
  const { status, body } = response;
  if (body === null) return { status, headers };
  // Read here, so that the bytes have no type but the response's own.
  const read = await answerFromReply({ status, body }, { answerBytesMax: bytesMax });
  return { status, headers, body: read.body };
}

/** An answer as a `Response`. */
export function responseOf({ status, headers, body }: Answer): Response {
  const isEmpty = status === 204 || status === 205 || status === 304;
  const list = headers.map(([name, value]): [string, string] => [name, value]);
  return new Response(isEmpty ? null : Uint8Array.from(body), { status, headers: list });
}
