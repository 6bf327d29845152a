import type { ServerResponse } from "node:http";
import type { Reply } from "../../idempotency/answer.ts";
import type { Answer } from "../../idempotency/keyed-request.ts";
import { contentOf, sendAnswer as sendByExpress } from "../express/express-exchange.ts";
import type { ExpressRequestShape } from "../express/express-exchange.ts";
import { sendAnswer as sendByFastify } from "../fastify/fastify-exchange.ts";
import type { FastifyReplyShape, FastifyRequestShape } from "../fastify/fastify-exchange.ts";

/** The part that the requests of both platforms, Express and Fastify, have in common. */
export interface NestRequestShape {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
}

/** A request and its response, on either platform. */
export interface NestExchange {
  readonly route: string;
  readonly rawHeaders: readonly string[];
  /** The body, which a parser may have read before. */
  content(bytesMax: number): Promise<{ readonly body: unknown } | "too-large">;
  hasAnswered(): boolean;
  /** Status and headers as Nest's decorators and the handler have set them. */
  head(): Required<Pick<Reply, "status" | "headers">>;
  /** Sends it past everything, after which Nest's own sending of what a handler returned does nothing. */
  send(answer: Answer): void;
}

/** Which platform it is, the response says. */
export function exchangeOf(request: unknown, response: unknown): NestExchange {
  const isFastify = typeof (response as { readonly code?: unknown }).code === "function";
  // By what each platform documents of the two.
  return isFastify
    ? fastifyExchange(request as FastifyRequestShape, response as NestFastifyReply)
    : expressExchange(request as ExpressRequestShape, response as ServerResponse);
}

interface NestFastifyReply extends FastifyReplyShape {
  readonly statusCode: number;
  removeHeader(name: string): unknown;
  getHeaders(): Readonly<Record<string, number | string | string[] | undefined>>;
}

function expressExchange(request: ExpressRequestShape, response: ServerResponse): NestExchange {
  return {
    route: request.originalUrl,
    rawHeaders: request.rawHeaders,
    content: (bytesMax) => contentOf(request, bytesMax),
    hasAnswered: () => response.headersSent,
    head: () => ({ status: response.statusCode, headers: ownHeaders(response.getHeaders()) }),
    send(answer) {
      for (const name of ofTheServer) response.removeHeader(name);
      sendByExpress(response, answer);
      Object.assign(response, { json: () => response, send: () => response });
    },
  };
}

function fastifyExchange(request: FastifyRequestShape, reply: NestFastifyReply): NestExchange {
  return {
    route: request.url,
    rawHeaders: request.raw.rawHeaders,
    content: () => Promise.resolve({ body: request.body ?? new Uint8Array() }),
    hasAnswered: () => reply.sent,
    head: () => ({ status: reply.statusCode, headers: ownHeaders(reply.getHeaders()) }),
    send(answer) {
      const sendByReply = reply.send.bind(reply);
      for (const name of ofTheServer) reply.removeHeader(name);
      // Fastify adds a cookie to those that there are, and the answer has them all.
      if (answer.headers.some(([name]) => name === "set-cookie")) reply.removeHeader("set-cookie");
      sendByFastify(reply, answer);
      // An error is of Fastify's own hooks, which run now.
      const sendErrors = (body: unknown): unknown =>
        body instanceof Error ? sendByReply(body) : reply;
      Object.assign(reply, { send: sendErrors });
    },
  };
}

/** What the server says of the bytes that it sends. */
const ofTheServer: readonly string[] = ["content-length", "transfer-encoding"];

function ownHeaders(
  headers: Readonly<Record<string, number | string | string[] | undefined>>,
): NonNullable<Reply["headers"]> {
  const own = Object.entries(headers).filter(([name]) => !ofTheServer.includes(name));
  return Object.fromEntries(own);
}
