import { createHash } from "node:crypto";
import { DureError } from "../core/errors.ts";

/** What is used of a client of the package `redis` (node-redis 5 or 6). */
export interface NodeRedisClient {
  sendCommand(
    args: readonly string[],
    options?: { readonly abortSignal?: AbortSignal },
  ): Promise<unknown>;
}

/** What is used of an instance of the package `ioredis`. */
export interface IoredisClient {
  call(...args: [command: string, ...args: string[]]): Promise<unknown>;
}

/**
 * A connected Redis client that you made: of `redis` or of `ioredis`, told apart by shape. It is never
 * closed here, and its `error` event stays yours to listen to. Replies are read alike in RESP2 and RESP3.
 */
export type RedisClient = NodeRedisClient | IoredisClient;

/** What a command can be given. */
export interface RedisCommandOptions {
  /**
   * Milliseconds after which the answer is not waited for any more: clients queue without a bound while
   * Redis is away. Blocking commands must add what they block for. @defaultValue 3000
   */
  readonly timeoutMs?: number;
  /** Nobody waits any more. A command that was not sent yet is not sent, where the client can do that. */
  readonly signal?: AbortSignal | undefined;
}

/** @see RedisCommandOptions.timeoutMs */
export const redisTimeoutMsDefault = 3_000;

/** Whether a value has the shape of a {@link RedisClient}, for checks of options at start. */
export function isRedisClient(value: unknown): value is RedisClient {
  if (typeof value !== "object" || value === null) return false;
  const shape = value as { readonly call?: unknown; readonly sendCommand?: unknown };
  return typeof shape.call === "function" || typeof shape.sendCommand === "function";
}

/**
 * Sends one command and resolves to its reply as the client decodes it. Commands of one client leave in
 * the order of the calls. Never retries: what a repetition does is for the caller to know.
 *
 * @throws REDIS_UNAVAILABLE when there was no answer (then the command may have been done, or be done
 * still), or when Redis answered that it takes none now; {@link classifyRedisError} tells the two apart.
 * Any other error that Redis answers comes as the client throws it.
 */
export async function redisCommand(
  client: RedisClient,
  args: readonly [command: string, ...args: string[]],
  { timeoutMs = redisTimeoutMsDefault, signal }: RedisCommandOptions = {},
): Promise<unknown> {
  const givenUp = new AbortController();
  const answer = Promise.withResolvers<unknown>();
  const giveUp = (why: string): void => {
    answer.reject(new RedisSilence(why));
    givenUp.abort();
  };
  const onAbort = (): void => giveUp("the caller waits no more");
  const timer = setTimeout(() => giveUp(`no answer within ${timeoutMs} ms`), timeoutMs);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) onAbort();
  else send(client, args, givenUp.signal).then(answer.resolve, answer.reject);
  try {
    return await answer.promise;
  } catch (error) {
    throw translateRedisError(error, args[0]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** A client may throw where it should reject, for example when it was closed. */
async function send(
  client: RedisClient,
  args: readonly [command: string, ...args: string[]],
  abortSignal: AbortSignal,
): Promise<unknown> {
  // First, since instances of ioredis have a sendCommand too, and another one.
  if ("call" in client) return client.call(...args);
  return client.sendCommand(args, { abortSignal });
}

/** A Lua script, and the name by which Redis knows it. */
export interface RedisScript {
  readonly text: string;
  readonly sha: string;
}

/** Makes a {@link RedisScript}. Does no I/O. */
export function redisScript(text: string): RedisScript {
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

/**
 * Runs a script by its name, and by its text where Redis does not know it (it was restarted or flushed).
 * The second way is a second command: two calls that must keep their order must not overlap.
 *
 * @throws REDIS_UNAVAILABLE as {@link redisCommand}
 */
export async function redisEval(
  client: RedisClient,
  script: RedisScript,
  { keys, args }: { readonly keys: readonly string[]; readonly args: readonly string[] },
  options?: RedisCommandOptions,
): Promise<unknown> {
  const rest = [String(keys.length), ...keys, ...args];
  try {
    return await redisCommand(client, ["EVALSHA", script.sha, ...rest], options);
  } catch (error) {
    if (redisErrorCode(error) !== "NOSCRIPT") throw error;
    return redisCommand(client, ["EVAL", script.text, ...rest], options);
  }
}

/**
 * What an error says about the command. `lost`: no answer came; it may have been done. `refused`: Redis
 * answered that it takes no such command now; nothing was done, and later it may. `wrong`: the command is
 * in error, or the error is not of Redis at all.
 */
export type RedisFailure = "lost" | "refused" | "wrong";

/** Sorts an error of a client, or of {@link redisCommand}, by Redis's own error code. */
export function classifyRedisError(error: unknown): RedisFailure {
  if (error instanceof RedisSilence) return "lost";
  const code = redisErrorCode(error);
  if (code !== undefined) return refusals.has(code) ? "refused" : "wrong";
  return lookThrough(error, isLost) === true ? "lost" : "wrong";
}

/**
 * The code of an error that Redis answered (`WRONGTYPE`, `NOSCRIPT`, `ERR`, …): by its protocol the first
 * word of the answer, in capitals. Scripts of ours raise codes of their own in the same way.
 */
export function redisErrorCode(error: unknown): string | undefined {
  return lookThrough(error, (each) => {
    if (!(each instanceof Error) || "isDureError" in each) return undefined;
    // In scripts of Redis before 7 the code stands behind "ERR".
    return /^(?:ERR )?([A-Z][A-Z0-9]+)(?: |$)/.exec(each.message)?.[1];
  });
}

/**
 * LOADING: still reading its file; READONLY: a replica, after a failover; MISCONF: cannot write to its disk;
 * OOM: over `maxmemory`; NOREPLICAS: `min-replicas-to-write`; BUSY: in a slow script; MAXCLIENTS by its text.
 */
const refusals: ReadonlySet<string> = new Set(
  "LOADING READONLY MISCONF OOM NOREPLICAS BUSY MASTERDOWN CLUSTERDOWN TRYAGAIN UNBLOCKED".split(
    " ",
  ),
);

/** No answer in time. */
class RedisSilence extends Error {
  override readonly name: string = "RedisSilence";
}

/** How the clients name a connection that is not there: by class, by system code, and where they leave no other way by text. */
function isLost(error: unknown): true | undefined {
  if (error instanceof RedisSilence) return true;
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { readonly code?: unknown };
  if (typeof code === "string" && /^E[A-Z]+$/.test(code)) return true;
  if (lostByName.test(error.constructor.name)) return true;
  return lostByText.test(error.message) ? true : undefined;
}

const lostByName =
  /^(?:Abort|ConnectionTimeout|SocketTimeout\w*|CommandTimeout\w*|Timeout|ClientClosed|ClientOffline|DisconnectsClient|SocketClosedUnexpectedly|RootNodesUnavailable|ReconnectStrategy|MaxRetriesPerRequest|ClusterAllFailed)Error$/;

const lostByText =
  /^(?:Connection is closed|Command timed out|Stream isn't writeable|The client is (?:closed|offline)|Socket closed unexpectedly|Disconnects client)/;

/** The first answer for an error or one of its causes. */
function lookThrough<Answer>(
  error: unknown,
  ask: (error: unknown) => Answer | undefined,
): Answer | undefined {
  for (let each = error, depth = 0; depth < 4; depth += 1) {
    const answer = ask(each);
    if (answer !== undefined) return answer;
    if (typeof each !== "object" || each === null) return undefined;
    each = (each as { readonly cause?: unknown }).cause;
  }
  return undefined;
}

function translateRedisError(error: unknown, command: string): unknown {
  const failure = classifyRedisError(error);
  if (failure === "wrong") return error;
  const what = error instanceof Error ? error.message : String(error);
  const message =
    failure === "lost"
      ? `Redis did not answer ${command} (${what}): it may have been done or not. Is Redis running, and the client connected?`
      : `Redis takes no ${command} now (${what}); nothing was done. Look at the server`;
  return new DureError("REDIS_UNAVAILABLE", message, { cause: error });
}
