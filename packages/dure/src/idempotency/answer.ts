import { DureError } from "../core/errors.ts";
import type { Answer } from "./keyed-request.ts";

/** What a handler answers. */
export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | number | readonly string[] | undefined>>;
  /**
   * Text and bytes go as they are, a stream is read to its end, anything else becomes JSON. Absent: no body.
   */
  readonly body?: unknown;
}

/** How a reply becomes bytes. */
export interface ReplyLimits {
  readonly answerBytesMax: number;
  /** Text or bytes of a body that is a value. @defaultValue JSON.stringify */
  readonly serialize?: ((body: unknown, status: number) => string | Uint8Array) | undefined;
}

/**
 * A reply as bytes, so that it can be stored before COMMIT and given again as it was.
 * @throws ANSWER_NOT_STORABLE when it is larger than allowed, has no status, or JSON cannot hold it
 */
export async function answerFromReply(reply: Reply, limits: ReplyLimits): Promise<Answer> {
  const { status } = reply;
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw notStorable(
      `a handler answered with the status ${String(status)}, which ends no request`,
    );
  }
  const { body, type } = await bytesOf(reply, limits);
  const headers = headersOf(reply);
  const hasType = headers.some(([name]) => name === "content-type");
  if (type !== undefined && !hasType) headers.unshift(["content-type", type]);
  return { status, headers, body };
}

/** An answer that cannot be stored, so its request cannot be kept either. */
export function notStorable(what: string, cause?: unknown): DureError {
  return new DureError(
    "ANSWER_NOT_STORABLE",
    `${what}: it cannot be stored and given again, so nothing of the request was committed. Return status, headers and a body of bounded size`,
    { cause },
  );
}

/** Reads a stream to its end, and no further than the limit. */
export async function readWithin(
  stream: AsyncIterable<unknown>,
  bytesMax: number,
): Promise<Uint8Array | "too-large"> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (!(bytes instanceof Uint8Array))
      throw notStorable("a stream gave something else than bytes");
    size += bytes.byteLength;
    if (size > bytesMax) return "too-large";
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function headersOf({ headers = {} }: Reply): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const values = Array.isArray(value) ? (value as readonly string[]) : [value];
    return values.map((each): [string, string] => [name.toLowerCase(), String(each)]);
  });
}

async function bytesOf(
  { body, status }: Reply,
  { answerBytesMax, serialize }: ReplyLimits,
): Promise<{ readonly body: Uint8Array; readonly type?: string }> {
  if (body === undefined || body === null) return { body: new Uint8Array() };
  if (isStream(body)) {
    const bytes = await readWithin(body, answerBytesMax);
    if (bytes === "too-large") throw tooLarge(answerBytesMax);
    return { body: bytes, type: "application/octet-stream" };
  }
  const { data, type } = dataOf(body, (value) => serialize?.(value, status) ?? json(value));
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  if (bytes.byteLength > answerBytesMax) throw tooLarge(answerBytesMax);
  return { body: bytes, type };
}

function dataOf(
  body: unknown,
  serialize: (value: unknown) => string | Uint8Array,
): { readonly data: string | Uint8Array; readonly type: string } {
  if (typeof body === "string") return { data: body, type: "text/plain; charset=utf-8" };
  if (body instanceof Uint8Array) return { data: body, type: "application/octet-stream" };
  return { data: serialize(body), type: "application/json; charset=utf-8" };
}

function json(value: unknown): string {
  try {
    const text: unknown = JSON.stringify(value);
    if (typeof text === "string") return text;
  } catch (cause) {
    throw notStorable("a handler answered with a body that JSON cannot hold", cause);
  }
  throw notStorable("a handler answered with a body that is no value of JSON");
}

function isStream(body: unknown): body is AsyncIterable<unknown> {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}

function tooLarge(bytesMax: number): DureError {
  return notStorable(`an answer is larger than answerBytesMax (${bytesMax} bytes)`);
}
