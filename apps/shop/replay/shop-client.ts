import { randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import { demoTokenSchema } from "../contracts/http/demo-token.ts";
import type { DemoRole } from "../contracts/http/demo-token.ts";

/** One request to the shop. */
export interface ShopCall {
  /** Base URL of the service. */
  readonly url: string;
  readonly path: string;
  readonly method?: "GET" | "PUT" | "POST";
  /** Whose token the call shows; none for what needs none. */
  readonly as?: ShopUser;
  /** Sent as `Idempotency-Key`. Without one, a POST must be harmless to repeat. */
  readonly key?: string;
  readonly body?: unknown;
}

/** Somebody with a demo token. */
export interface ShopUser {
  readonly userId: string;
  readonly roles: readonly DemoRole[];
}

/** A status that is not worth another try, with the body as it came. */
export interface ShopAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Asks the shop and asks again, as a patient and careful client would. */
export interface ShopClient {
  /** @throws Error when no final answer came within the limit */
  send(call: ShopCall): Promise<ShopAnswer>;
  /** Sends and expects status 200 or 201 and a body of this form. */
  ask<T>(call: ShopCall, schema: z.ZodType<T>): Promise<T>;
  /** How often a call had to be repeated so far. */
  readonly retryCount: number;
}

/** How {@link createShopClient} behaves. */
export interface ShopClientOptions {
  /** The gateway, which gives out the tokens. */
  readonly gatewayUrl: string;
  /** How long one call may take with all its repetitions. */
  readonly patienceMs: number;
}

const tokenLifeMs = 50 * 60_000;
const attemptTimeoutMs = 60_000;
const backoffMinMs = 100;
const backoffMaxMs = 2000;

/**
 * A client that repeats a call, with the same key, when the connection fails or the answer says
 * that another try may succeed: 429, 5xx but 501, and a key that is still in progress.
 */
export function createShopClient(options: ShopClientOptions): ShopClient {
  const tokens = new Map<string, { readonly token: Promise<string>; readonly until: number }>();
  let retryCount = 0;

  const fetchToken = async (user: ShopUser): Promise<string> => {
    const { userId, roles } = user;
    const call = { url: options.gatewayUrl, path: "/demo/token", method: "POST" } as const;
    return (await ask({ ...call, body: { userId, roles } }, demoTokenSchema)).token;
  };
  const tokenOf = (user: ShopUser): Promise<string> => {
    const id = `${user.userId} ${user.roles.join()}`;
    const known = tokens.get(id);
    if (known !== undefined && performance.now() < known.until) return known.token;
    const token = fetchToken(user);
    tokens.set(id, { token, until: performance.now() + tokenLifeMs });
    token.catch(() => tokens.delete(id));
    return token;
  };
  const send = async (call: ShopCall): Promise<ShopAnswer> => {
    const deadline = performance.now() + options.patienceMs;
    for (let attempt = 1; ; attempt += 1) {
      const token = call.as === undefined ? undefined : await tokenOf(call.as);
      const result = await sendOnce(call, token);
      if (result.kind === "answer") return result.answer;
      const backoffMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** (attempt - 1));
      const waitMs = Math.max(
        result.retryAfterMs,
        randomInt(Math.ceil(backoffMs / 2), backoffMs + 1),
      );
      if (performance.now() + waitMs > deadline) {
        const what = `${call.method ?? "GET"} ${call.url}${call.path}`;
        throw new Error(`${what} failed ${attempt} times, at last: ${result.why}`);
      }
      retryCount += 1;
      await delay(waitMs);
    }
  };
  const ask = async <T>(call: ShopCall, schema: z.ZodType<T>): Promise<T> => {
    const { status, body } = await send(call);
    if (status === 200 || status === 201) return schema.parse(body);
    const what = `${call.method ?? "GET"} ${call.url}${call.path}`;
    throw new Error(`${what} answered ${status}: ${JSON.stringify(body).slice(0, 500)}`);
  };
  return {
    send,
    ask,
    get retryCount() {
      return retryCount;
    },
  };
}

type Attempt =
  | { readonly kind: "answer"; readonly answer: ShopAnswer }
  | { readonly kind: "again"; readonly retryAfterMs: number; readonly why: string };

async function sendOnce(call: ShopCall, token: string | undefined): Promise<Attempt> {
  try {
    const response = await fetch(call.url + call.path, {
      method: call.method ?? "GET",
      headers: headersOf(call, token),
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      signal: AbortSignal.timeout(attemptTimeoutMs),
    });
    const text = await response.text();
    const { status } = response;
    if (isWorthAnotherTry(status, text)) {
      const seconds = Number(response.headers.get("retry-after") ?? 0);
      const retryAfterMs = Number.isFinite(seconds) ? Math.min(seconds, 10) * 1000 : 0;
      return { kind: "again", retryAfterMs, why: `${status} ${text.slice(0, 300)}` };
    }
    return { kind: "answer", answer: { status, body: text === "" ? null : parseJson(text) } };
  } catch (error) {
    return { kind: "again", retryAfterMs: 0, why: reasonOf(error) };
  }
}

function headersOf(call: ShopCall, token: string | undefined): Record<string, string> {
  return {
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(call.key === undefined ? {} : { "idempotency-key": call.key }),
    ...(call.body === undefined ? {} : { "content-type": "application/json" }),
  };
}

function isWorthAnotherTry(status: number, text: string): boolean {
  if (status === 409) return text.includes("IDEMPOTENCY_IN_PROGRESS");
  return status === 429 || (status >= 500 && status !== 501);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return error.message + cause;
}
