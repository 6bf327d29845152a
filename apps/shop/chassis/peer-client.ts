import { ExponentialBackoff, handleWhen, retry } from "cockatiel";
import { Agent, request as send } from "undici";
import type { z } from "zod";
import type { ServiceName } from "./config.ts";
import { nameOfCall } from "./instruments.ts";
import type { ServiceInstruments } from "./instruments.ts";
import { quoteKey } from "./key-header.ts";
import { PeerError, errorFromAnswer, errorFromConnection } from "./peer-error.ts";
import type { ServiceTokens } from "./service-token.ts";
import { toTraceparent } from "./trace-context.ts";
import type { CallContext } from "./trace-context.ts";

/** How one service reaches another. */
export interface PeerClientOptions {
  readonly peer: ServiceName;
  /** Without a trailing slash. */
  readonly baseUrl: string;
  readonly tokens: ServiceTokens;
  /** For a call with all its body, per attempt. @defaultValue 5000 */
  readonly timeoutMs?: number;
  /** Attempts after the first, where a call may be repeated. @defaultValue 3 */
  readonly retries?: number;
  /** @defaultValue 64 */
  readonly connectionsMax?: number;
  readonly instruments?: ServiceInstruments | undefined;
}

/** One call. The path is the peer's own, with every id already percent-encoded (`pathOf`). */
export interface PeerCall {
  readonly method: "GET" | "POST" | "PUT";
  readonly path: string;
  /** Parameters that are undefined are left out. */
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes a call repeatable. A POST without one is sent once. */
  readonly idempotencyKey?: string;
  /** The forward key that this call undoes. */
  readonly compensates?: string;
  readonly context: CallContext;
  /** Overrides the client's. */
  readonly timeoutMs?: number;
}

/** A call whose answer is read. */
export interface PeerQuestion<T> extends PeerCall {
  readonly schema: z.ZodType<T>;
}

/** The peer's answer, not looked into. */
export interface PeerAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** A client of one other service. */
export interface PeerClient {
  readonly peer: ServiceName;
  /**
   * The parsed body of a 2xx answer. A GET, a PUT, and a POST with an idempotency key are repeated
   * after failures that may pass; any other POST is sent once.
   *
   * @throws PeerError for everything else. `outcomeUnknown` holds for all attempts together: once
   *   one of them may have had its effect, only a definite answer to a later one ends the doubt
   */
  ask<T>(question: PeerQuestion<T>): Promise<T>;
  /**
   * The answer whatever its status, asked for once.
   *
   * @throws PeerError when there was none
   */
  forward(call: PeerCall): Promise<PeerAnswer>;
  /**
   * Closes the connections. Calls in flight fail with an unknown outcome, so that a peer that does
   * not answer cannot hold up a stop; whoever cares for an answer stops first.
   */
  close(): Promise<void>;
}

const answerBytesMax = 16 * 1024 * 1024;

/** A client with its own connections, a token per call, and the caller's request id and trace. */
export function createPeerClient(options: PeerClientOptions): PeerClient {
  const agent = new Agent({
    connections: options.connectionsMax ?? 64,
    connect: { timeout: 2000 },
    maxResponseSize: answerBytesMax,
  });
  const retries = retry(
    handleWhen((error) => error instanceof PeerError && error.retryable),
    {
      maxAttempts: options.retries ?? 3,
      backoff: new ExponentialBackoff({ initialDelay: 100, maxDelay: 2000 }),
    },
  );
  return {
    peer: options.peer,
    async ask(question) {
      const doubt = { outcomeUnknown: false };
      const attempt = () => askOnce(options, agent, question, doubt);
      if (!isRepeatable(question)) return attempt();
      return retries.execute(attempt, question.context.signal);
    },
    forward: (call) => transfer(options, agent, call),
    close: () => agent.destroy(),
  };
}

/** A path with its parameters encoded: `pathOf("orders", orderId, "cancel")`. */
export function pathOf(...segments: readonly string[]): string {
  return segments.map((segment) => `/${encodeURIComponent(segment)}`).join("");
}

function isRepeatable(call: PeerCall): boolean {
  return call.method !== "POST" || call.idempotencyKey !== undefined;
}

/** Remembers across attempts that an earlier one may have had its effect. */
interface Doubt {
  outcomeUnknown: boolean;
}

async function askOnce<T>(
  options: PeerClientOptions,
  agent: Agent,
  question: PeerQuestion<T>,
  doubt: Doubt,
): Promise<T> {
  try {
    const answer = await transfer(options, agent, question);
    if (answer.status < 200 || answer.status > 299) {
      const retryAfter = answer.headers["retry-after"];
      throw errorFromAnswer(options.peer, {
        ...answer,
        ...(retryAfter === undefined ? {} : { retryAfter }),
      });
    }
    return readAnswer(options.peer, answer, question.schema);
  } catch (error) {
    if (!(error instanceof PeerError) || question.method === "GET") throw error;
    // "Not now" says nothing about an earlier attempt; a definite refusal of the same key does.
    doubt.outcomeUnknown = error.outcomeUnknown || (error.retryable && doubt.outcomeUnknown);
    throw doubt.outcomeUnknown === error.outcomeUnknown ? error : inDoubt(error);
  }
}

function inDoubt(error: PeerError): PeerError {
  const { peer, code, retryable, status, retryAfterMs, detail } = error;
  return new PeerError({
    peer,
    code,
    retryable,
    outcomeUnknown: true,
    ...(status === undefined ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(detail === undefined ? {} : { detail }),
    cause: error,
  });
}

function readAnswer<T>(peer: ServiceName, answer: PeerAnswer, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(answer.text));
  } catch (cause) {
    const facts = { peer, status: answer.status, code: "UNREADABLE", cause };
    throw new PeerError({ ...facts, retryable: false, outcomeUnknown: true });
  }
}

async function transfer(
  options: PeerClientOptions,
  agent: Agent,
  call: PeerCall,
): Promise<PeerAnswer> {
  const { peer, instruments } = options;
  const token = await options.tokens.current();
  const ask = (): Promise<PeerAnswer> => exchange(options, { agent, call, token });
  try {
    if (instruments === undefined) return await ask();
    return await instruments.call(nameOfCall(peer, call.method, call.path), ask);
  } catch (error) {
    throw errorFromConnection(peer, error, call.context.signal?.aborted === true);
  }
}

async function exchange(
  options: PeerClientOptions,
  {
    agent,
    call,
    token,
  }: { readonly agent: Agent; readonly call: PeerCall; readonly token: string },
): Promise<PeerAnswer> {
  const { signal } = call.context;
  const timeout = AbortSignal.timeout(call.timeoutMs ?? options.timeoutMs ?? 5000);
  const answer = await send(urlOf(options.baseUrl, call), {
    dispatcher: agent,
    method: call.method,
    headers: headersOf(call, token),
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
  });
  const text = await answer.body.text();
  return { status: answer.statusCode, headers: singleHeaders(answer.headers), text };
}

function urlOf(baseUrl: string, call: PeerCall): URL {
  const url = new URL(baseUrl + call.path);
  for (const [name, value] of Object.entries(call.query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

function headersOf(call: PeerCall, token: string): Record<string, string> {
  return {
    ...call.headers,
    authorization: `Bearer ${token}`,
    "x-request-id": call.context.requestId,
    traceparent: toTraceparent(call.context.trace),
    ...(call.body === undefined ? {} : { "content-type": "application/json" }),
    ...(call.compensates === undefined ? {} : { compensates: quoteKey(call.compensates) }),
    ...(call.idempotencyKey === undefined
      ? {}
      : { "idempotency-key": quoteKey(call.idempotencyKey) }),
  };
}

function singleHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      typeof value === "string" ? [[name, value] as const] : [],
    ),
  );
}
