import { ServerResponse } from "node:http";
import type { IncomingMessage } from "node:http";
import { notStorable } from "../../idempotency/answer.ts";
import type { Reply } from "../../idempotency/answer.ts";

/** A response that reaches nobody, and what was answered through it. */
export interface RecordedResponse<Response> {
  readonly response: Response;
  /** Whether anything was answered through it, to its end or not. */
  isTouched(): boolean;
  /** The answer, when it has ended. Rejects with ANSWER_NOT_STORABLE when it is too large. */
  readonly answered: Promise<Reply>;
}

/**
 * A response with everything that the given one can (`json`, `send`, `sendFile`, `redirect`, `write`, `end`, a
 * stream piped into it), and without a connection: whatever is answered ends in memory, where it can be stored
 * before anybody sees it. It is caught where all ways of answering meet, in `writeHead`, `write` and `end`.
 */
export function recordResponse<Response extends ServerResponse>(
  request: IncomingMessage,
  original: Response,
  bytesMax: number,
): RecordedResponse<Response> {
  const response = new ServerResponse(request);
  const answered = Promise.withResolvers<Reply>();
  answered.promise.catch(() => undefined);
  const chunks: Uint8Array[] = [];
  let size = 0;
  let isBegun = false;
  const take = (chunk: unknown, encoding: unknown): void => {
    isBegun = true;
    if (chunk === undefined || chunk === null || typeof chunk === "function") return;
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, encodingOf(encoding)) : chunk;
    if (!(bytes instanceof Uint8Array)) throw new TypeError("a chunk must be text or bytes");
    size += bytes.byteLength;
    if (size <= bytesMax) return void chunks.push(bytes);
    chunks.length = 0;
    answered.reject(notStorable(`an answer is larger than answerBytesMax (${bytesMax} bytes)`));
    // Whoever pipes into it stops.
    response.emit("close");
  };
  const end = (...args: readonly unknown[]): ServerResponse => {
    if (response.finished) return response;
    take(args[0], args[1]);
    response.finished = true;
    const { statusCode: status } = response;
    const headers = response.getHeaders();
    // Their own server adds these anew.
    for (const name of ["content-length", "transfer-encoding"]) delete headers[name];
    answered.resolve({ status, headers, ...(size > 0 && { body: Buffer.concat(chunks) }) });
    called(args);
    process.nextTick(() => response.emit("finish"));
    return response;
  };
  // Express puts its methods there.
  Object.setPrototypeOf(response, Object.getPrototypeOf(original) as object);
  const { locals } = original as { readonly locals?: unknown };
  Object.assign(response, {
    locals,
    end,
    write(...args: readonly unknown[]) {
      take(args[0], args[1]);
      called(args);
      return true;
    },
    writeHead(status: number, ...rest: readonly unknown[]) {
      isBegun = true;
      setHead(response, status, rest);
      return response;
    },
    flushHeaders() {
      isBegun = true;
    },
  });
  Object.defineProperty(response, "headersSent", { get: () => isBegun });
  // It has the original's prototype, and with it all that its type says.
  return {
    response: response as unknown as Response,
    isTouched: () => isBegun,
    answered: answered.promise,
  };
}

function setHead(response: ServerResponse, status: number, rest: readonly unknown[]): void {
  response.statusCode = status;
  const headers = rest.find((each) => typeof each === "object" && each !== null) ?? {};
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, String(value));
}

function encodingOf(encoding: unknown): BufferEncoding {
  return typeof encoding === "string" && Buffer.isEncoding(encoding) ? encoding : "utf8";
}

/** Node's streams take a call-back as their last argument. */
function called(args: readonly unknown[]): void {
  const callBack = args.find((each) => typeof each === "function");
  if (callBack !== undefined) process.nextTick(callBack as () => void);
}
