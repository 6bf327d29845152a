import type { TestContext } from "vitest";
import {
  findRedisServer,
  redisMissing,
  type RedisServer,
  type RedisServerOptions,
  startRedisServer,
} from "../../../../tools/servers/redis.ts";
import { leaveOut } from "./leave-out.ts";

/**
 * A Redis for a test file: one of its own, or the one that `DURE_REDIS_URL` names. Another's server is not
 * killed, frozen or flushed: tests that need that call {@link ownRedis}. On a shared server use keys of your own.
 */
export interface TestRedis {
  readonly url: string;
  /** The controls, where the server is ours. */
  readonly own: RedisServer | undefined;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Call it in `beforeAll`; undefined where there is no Redis: then {@link needRedis} leaves the tests out. */
export async function startTestRedis(options?: RedisServerOptions): Promise<TestRedis | undefined> {
  const url = process.env["DURE_REDIS_URL"];
  if (url !== undefined) return { url, own: undefined, [Symbol.asyncDispose]: async () => {} };
  if ((await findRedisServer()) === undefined) return undefined;
  const own = await startRedisServer(options);
  return { url: own.url, own, [Symbol.asyncDispose]: () => own[Symbol.asyncDispose]() };
}

/** The server, or the test is left out and says why. For `beforeEach`. */
export function needRedis(context: TestContext, redis: TestRedis | undefined): TestRedis {
  return redis ?? leaveOut(context, redisMissing);
}

/** The server's controls (`restart`, `freeze`, `flush`, …), or the test is left out and says why. */
export function ownRedis(context: TestContext, redis: TestRedis | undefined): RedisServer {
  const { own } = needRedis(context, redis);
  return (
    own ?? leaveOut(context, "DURE_REDIS_URL names a server that tests must not kill or flush")
  );
}
