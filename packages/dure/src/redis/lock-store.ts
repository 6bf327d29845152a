import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { HeldLease, LockStore } from "../lock/lock-store.ts";
import { ReleaseListeners } from "../lock/release-listeners.ts";
import { lockScripts } from "./lock-scripts.ts";
import { isRedisClient, redisCommand, redisEval, redisTimeoutMsDefault } from "./redis-client.ts";
import type { RedisClient, RedisScript } from "./redis-client.ts";

/** What {@link redisLockStore} takes. */
export interface RedisLockStoreOptions {
  /** Of `redis` or `ioredis`, connected. Yours to close. */
  readonly client: RedisClient;
  /** What the names of all keys begin with. @defaultValue "dure" */
  readonly prefix?: string;
  readonly clock?: Clock;
}

/**
 * Leases in one Redis. A lock here is a good reason to believe that one is alone, and no more: Redis forgets it when
 * it loses data, when it fails over to a replica that had not heard of it, and, too soon, when its clock is set
 * forward. Tokens grow through all of that, except a failover to a server whose clock is behind the other's by more
 * than the time since the last grant. So what is written under it is guarded by its token, as `withLock` does.
 *
 * Waiters of other processes are not told: they look again, half a second apart at most.
 *
 * Keys: `{prefix}:lock:{key}` (a hash that expires with the lease), the same with `:token` (a day), and
 * `{prefix}:lock-audit` (a list of JSON, the last 10,000 forced releases). The audit list lives in another slot of
 * a cluster: forced releases need a single server, or a prefix with a hash tag.
 *
 * @throws CONFIGURATION_INVALID when the client has not the shape of one
 */
export function redisLockStore(options: RedisLockStoreOptions): LockStore {
  const { client, prefix = "dure", clock = systemClock } = options;
  if (!isRedisClient(client)) {
    throw new DureError(
      "CONFIGURATION_INVALID",
      "redisLockStore: client must be a connected client of redis or ioredis",
    );
  }
  const listeners = new ReleaseListeners();
  // Braces of a key would be taken for a hash tag of a cluster.
  const leaseOf = (key: string): string => `${prefix}:lock:{${encodeURIComponent(key)}}`;
  const ask = (
    script: RedisScript,
    keys: readonly string[],
    args: readonly (string | number)[],
    msMax: number = redisTimeoutMsDefault,
  ): Promise<unknown> =>
    redisEval(client, script, { keys, args: args.map(String) }, { timeoutMs: msMax });
  return {
    async acquire({ key, holder, label, leaseMs }) {
      const lease = leaseOf(key);
      const msMax = Math.min(leaseMs, redisTimeoutMsDefault);
      const keys = [lease, `${lease}:token`];
      const [token, remainingMs] = (await ask(
        lockScripts.acquire,
        keys,
        [holder, label, leaseMs],
        msMax,
      )) as readonly [string | null, number];
      if (token === null) return { kind: "held", remainingMs: Math.max(0, Number(remainingMs)) };
      return { kind: "granted", token: Number(token) };
    },
    async renew({ key, holder, leaseMs }) {
      const msMax = Math.min(leaseMs, redisTimeoutMsDefault);
      return Number(await ask(lockScripts.renew, [leaseOf(key)], [holder, leaseMs], msMax)) === 1;
    },
    async release({ key, holder, keepMs }) {
      return Number(await ask(lockScripts.release, [leaseOf(key)], [holder, keepMs])) === 1;
    },
    tellReleased: (key) => listeners.tell(key),
    listen: (key, wake) => listeners.listen(key, wake),
    async list({ prefix: begin, limit }) {
      const head = `${prefix}:lock:{`;
      const found: HeldLease[] = [];
      for (const name of await scan(client, `${escapeGlob(head + encodeURIComponent(begin))}*}`)) {
        const lease = await ask(lockScripts.read, [name], []);
        const key = decodeURIComponent(name.slice(head.length, -1));
        if (Array.isArray(lease)) found.push(leaseFrom(key, lease.map(String)));
      }
      return found.toSorted((a, b) => (a.key < b.key ? -1 : 1)).slice(0, limit);
    },
    async forceRelease(key, { actor, reason }) {
      const at = new Date(clock.now()).toISOString();
      const entry = { at, actor, action: "lock.release", subject: `lock/${key}`, reason };
      const keys = [leaseOf(key), `${prefix}:lock-audit`];
      const count = await ask(lockScripts.forceRelease, keys, [JSON.stringify(entry)]);
      listeners.tell(key);
      return Number(count) === 1;
    },
  };
}

function leaseFrom(key: string, fields: readonly string[]): HeldLease {
  const [holder = "", token, label = "", at, remainingMs] = fields;
  return {
    key,
    holder,
    token: Number(token),
    label,
    acquiredAt: new Date(Number(at) / 1_000).toISOString(),
    remainingMs: Number(remainingMs),
  };
}

/** Bounded by the number of keys of the server. */
async function scan(client: RedisClient, pattern: string): Promise<readonly string[]> {
  const names = new Set<string>();
  let cursor = "0";
  do {
    const answer = await redisCommand(client, ["SCAN", cursor, "MATCH", pattern, "COUNT", "1000"]);
    const [next, found] = answer as readonly [string, readonly string[]];
    for (const name of found) names.add(name);
    cursor = String(next);
  } while (cursor !== "0");
  return [...names];
}

function escapeGlob(text: string): string {
  return text.replaceAll(/[\\*?[\]]/g, "\\$&");
}
