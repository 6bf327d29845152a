import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError, isDureError } from "../core/errors.ts";
import { keyIdOf } from "../idempotency/fingerprint.ts";
import { createKeyedRequests } from "../idempotency/key-flights.ts";
import type {
  Answer,
  IdempotentService,
  KeyedOutcome,
  KeyedRequest,
  Work,
  Worked,
} from "../idempotency/keyed-request.ts";
import { claimKey, freeKey, keepAnswer } from "./key-scripts.ts";
import { isRedisClient, redisEval } from "./redis-client.ts";
import type { RedisClient, RedisScript } from "./redis-client.ts";

/** What {@link redisIdempotency} takes. */
export interface RedisIdempotencyOptions {
  /** A connected client. Yours to close. */
  readonly client: RedisClient;
  /** What its keys in Redis begin with. @defaultValue "dure:key:" */
  readonly prefix?: string;
  readonly clock?: Clock;
}

/** What the work of a keyed request is given, where the keys are in Redis. */
export interface RedisKeyedWork {
  /**
   * A number that grows with each owner of the key. A resource that refuses a lower one than it has seen is safe
   * from an owner that comes late. Undefined: the request has no key.
   */
  readonly fence: string | undefined;
  /** Aborts when the lease is over: then another may be doing the same. */
  readonly signal: AbortSignal;
}

/**
 * Keyed requests for a service without SQL: the same routes and outcomes as `dure.idempotency`, and a weaker promise.
 * The answer is stored after the work, not together with it:
 *
 * - A process that dies between the work and its record leaves the key free after the lease, and a repeat does the
 *   work again. So does one whose record never arrives.
 * - An owner that is slower than its lease is overtaken: both do the work. The one that comes late throws and its
 *   answer is not stored; `fence` tells a resource which of the two is newer.
 * - A refusal does not take back what the work has done: there is nothing that could.
 * - Redis answers before it is safe on disk (`appendfsync`) and on replicas: a crash or a failover may forget a key or
 *   an answer, and a repeat does the work again. A clock that is set back lets a lease live longer, one that is set
 *   ahead ends it early. With `maxmemory` a policy that evicts may forget records too: use `noeviction`.
 *
 * What the work does must therefore carry keys of its own.
 *
 * @throws CONFIGURATION_INVALID
 */
export function redisIdempotency(
  options: RedisIdempotencyOptions,
): IdempotentService<RedisKeyedWork> {
  const { client, prefix = "dure:key:", clock = systemClock } = options;
  if (!isRedisClient(client)) {
    throw new DureError("CONFIGURATION_INVALID", "redisIdempotency: client must be a Redis client");
  }
  const run = (script: RedisScript, request: KeyedRequest, args: readonly string[]) =>
    redisEval(client, script, { keys: [`${prefix}${keyIdOf(request.scope, request.key)}`], args });
  const idempotency = createKeyedRequests<RedisKeyedWork>(
    {
      attempt: (request, work) => attempt(run, request, work),
      async unkeyed(work, { leaseMs }) {
        const { answer } = await workWithin(work, undefined, leaseMs);
        return answer;
      },
    },
    clock,
  );
  return { idempotency };
}

type Run = (
  script: RedisScript,
  request: KeyedRequest,
  args: readonly string[],
) => Promise<unknown>;

async function attempt(
  run: Run,
  request: KeyedRequest,
  work: Work<RedisKeyedWork>,
): Promise<KeyedOutcome> {
  const { fingerprint, leaseMs, keepMs } = request;
  const reply = (await run(claimKey, request, [
    fingerprint,
    String(leaseMs),
  ])) as readonly unknown[];
  const [kind, text] = reply.map(String);
  if (kind === "in_flight") return { kind, retryAfterMs: 1_000 };
  if (kind === "mismatch") return { kind };
  if (kind === "replayed") return { kind, answer: readAnswer(text ?? "") };
  const fence = text ?? "";
  let worked: Worked;
  try {
    worked = await workWithin(work, fence, leaseMs);
  } catch (error) {
    // Overtaken, it has nothing to free; and where Redis is away the lease frees it.
    if (!isDureError(error, "TRANSACTION_TIMED_OUT")) await free(run, request, fence);
    throw error;
  }
  const { answer, stored } = worked;
  if (stored === undefined) {
    await free(run, request, fence);
    return { kind: "undone", answer };
  }
  const isKept = await run(keepAnswer, request, [fence, writeAnswer(stored), String(keepMs)]);
  if (Number(isKept) === 1) return { kind: "executed", answer };
  throw timedOut(leaseMs);
}

async function free(run: Run, request: KeyedRequest, fence: string): Promise<void> {
  await run(freeKey, request, [fence]).catch((error: unknown) => {
    if (!isDureError(error, "REDIS_UNAVAILABLE")) throw error;
  });
}

async function workWithin(
  work: Work<RedisKeyedWork>,
  fence: string | undefined,
  leaseMs: number,
): Promise<Worked> {
  const over = new AbortController();
  const lost = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = timedOut(leaseMs);
    over.abort(error);
    lost.reject(error);
  }, leaseMs);
  try {
    return await Promise.race([work({ fence, signal: over.signal }), lost.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function timedOut(leaseMs: number): DureError {
  return new DureError(
    "TRANSACTION_TIMED_OUT",
    `a keyed request took longer than its lease of ${leaseMs} ms: its answer was not stored, and another may be doing the same`,
  );
}

interface WrittenAnswer {
  readonly status: number;
  readonly headers: Answer["headers"];
  readonly body: string;
}

function writeAnswer({ status, headers, body }: Answer): string {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return JSON.stringify({
    status,
    headers,
    body: bytes.toString("base64"),
  } satisfies WrittenAnswer);
}

function readAnswer(text: string): Answer {
  const { status, headers, body } = JSON.parse(text) as WrittenAnswer;
  return { status, headers, body: Buffer.from(body, "base64") };
}
