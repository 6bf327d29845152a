import { callHeaders } from "dure/http/outgoing";
import { CallRefusedError, createResilience, standardPreset } from "dure/resilience";
import type { DependencyOptions, DependencySnapshot } from "dure/resilience";
import { Agent, request as send } from "undici";
import type { z } from "zod";
import type { ServiceName } from "./config.ts";
import { nameOfCall } from "./instruments.ts";
import type { ServiceInstruments } from "./instruments.ts";
import {
  PeerError,
  classifyPeerError,
  errorFromAnswer,
  errorFromConnection,
} from "./peer-error.ts";
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
  /** Attempts after the first, where a call may be repeated. @defaultValue the preset's: 3 */
  readonly retries?: number;
  /** Breaker, retries and calls at once. @defaultValue standardPreset */
  readonly preset?: DependencyOptions;
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
  /** The forward key that this call undoes; sent with a key only. */
  readonly compensates?: string;
  /** What a saga says of its step; sent with a key only. */
  readonly step?: { readonly sagaId: string; readonly fencingToken: number };
  readonly context: CallContext;
  /** Overrides the client's. */
  readonly timeoutMs?: number;
  /** Whoever calls asks again by itself, durably: the client does not, so that retries are not multiplied. */
  readonly isRepeatedByCaller?: true;
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
   * after failures that may pass; any other POST is sent once. A peer that fails too often is left alone
   * for a while: BREAKER_OPEN, and nothing was sent.
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
  /** How the peer stands, by the calls that `ask` has made. */
  standing(): DependencySnapshot;
  /**
   * Closes the connections. Calls in flight fail with an unknown outcome, so that a peer that does
   * not answer cannot hold up a stop; whoever cares for an answer stops first.
   */
  close(): Promise<void>;
}

const guardMs = 120_000;
const answerBytesMax = 16 * 1024 * 1024;

/** A client with its own connections, a token per call, and the caller's request id and trace. */
export function createPeerClient(options: PeerClientOptions): PeerClient {
  const agent = new Agent({
    connections: options.connectionsMax ?? 64,
    connect: { timeout: 2000 },
    maxResponseSize: answerBytesMax,
  });
  const { retries, preset = standardPreset } = options;
  const { retry } = preset;
  const resilience = createResilience({
    dependencies: {
      peer: {
        ...preset,
        retry: retry === false ? false : { ...retry, retriesMax: retries ?? retry.retriesMax },
        // Only a guard: each transfer has a timeout of its own, that says what it means for the outcome.
        timeoutMs: guardMs,
      },
    },
    classify: classifyPeerError,
  });
  return {
    peer: options.peer,
    async ask(question) {
      const doubt = { outcomeUnknown: false };
      const { method, idempotencyKey, isRepeatedByCaller, context } = question;
      const given = {
        isIdempotent: isRepeatedByCaller !== true && method !== "POST",
        ...(isRepeatedByCaller !== true && idempotencyKey !== undefined && { idempotencyKey }),
        ...(context.signal !== undefined && { signal: context.signal }),
      };
      try {
        return await resilience.call(
          "peer",
          ({ signal }) => askOnce(options, agent, { question, signal }, doubt),
          given,
        );
      } catch (error) {
        throw inPeerWords(options.peer, error, context.signal);
      }
    },
    forward: (call) => transfer(options, agent, call),
    standing: () => resilience.snapshot().peer,
    close: () => agent.destroy(),
  };
}

/** A path with its parameters encoded: `pathOf("orders", orderId, "cancel")`. */
export function pathOf(...segments: readonly string[]): string {
  return segments.map((segment) => `/${encodeURIComponent(segment)}`).join("");
}

/** What was never sent, or ended by its caller, as an error of a peer. */
function inPeerWords(peer: ServiceName, error: unknown, signal: AbortSignal | undefined): unknown {
  if (error instanceof PeerError) return error;
  if (error instanceof CallRefusedError) {
    const { code, retryAfterMs, message: detail } = error;
    const facts = { peer, code, retryAfterMs, detail, cause: error };
    return new PeerError({ ...facts, retryable: true, outcomeUnknown: false });
  }
  return signal?.aborted === true ? errorFromConnection(peer, error, true) : error;
}

/** Remembers across attempts that an earlier one may have had its effect. */
interface Doubt {
  outcomeUnknown: boolean;
}

async function askOnce<T>(
  options: PeerClientOptions,
  agent: Agent,
  { question, signal }: { readonly question: PeerQuestion<T>; readonly signal: AbortSignal },
  doubt: Doubt,
): Promise<T> {
  try {
    const { context } = question;
    const answer = await transfer(options, agent, { ...question, context: { ...context, signal } });
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
    ...(call.idempotencyKey === undefined
      ? {}
      : callHeaders({ ...call.step, key: call.idempotencyKey, compensates: call.compensates })),
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
