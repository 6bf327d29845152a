import { redisScript } from "./redis-client.ts";
import type { RedisScript } from "./redis-client.ts";

/** The scripts of lease locks. Each is one decision: Redis runs nothing beside it. */
export interface LockScripts {
  readonly acquire: RedisScript;
  readonly renew: RedisScript;
  readonly release: RedisScript;
  readonly read: RedisScript;
  readonly forceRelease: RedisScript;
}

/** For how long the last token of a key is remembered: longer than any clock is set back by those who do it well. */
const tokenMs = 86_400_000;
const auditEntriesMax = 10_000;

export const lockScripts: LockScripts = {
  // KEYS: the lease, its last token. ARGV: holder, label, lease in milliseconds. The token is what was before plus one,
  // or the time in microseconds: where Redis has lost what was before, the time alone still grows.
  acquire: redisScript(`
    local holder = redis.call('HGET', KEYS[1], 'holder')
    if holder and holder ~= ARGV[1] then
      return {false, redis.call('PTTL', KEYS[1])}
    end
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local token = holder and redis.call('HGET', KEYS[1], 'token')
    if not token then
      local before = tonumber(redis.call('GET', KEYS[2]) or '0')
      token = string.format('%.0f', math.max(before + 1, now))
    end
    redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'token', token, 'label', ARGV[2], 'at', string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('SET', KEYS[2], token, 'PX', ${tokenMs})
    return {token, 0}`),
  renew: redisScript(`
    if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])`),
  // ARGV: holder, for how long after the grant it is kept.
  release: redisScript(`
    if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local keep = tonumber(redis.call('HGET', KEYS[1], 'at')) / 1000 + tonumber(ARGV[2]) - now / 1000
    if keep > 0 then
      redis.call('PEXPIRE', KEYS[1], math.ceil(keep))
    else
      redis.call('DEL', KEYS[1])
    end
    return 1`),
  read: redisScript(`
    local lease = redis.call('HMGET', KEYS[1], 'holder', 'token', 'label', 'at')
    if not lease[1] then return false end
    lease[5] = tostring(redis.call('PTTL', KEYS[1]))
    return lease`),
  // KEYS: the lease, the audit log. ARGV: the entry. Both or neither.
  forceRelease: redisScript(`
    if redis.call('DEL', KEYS[1]) == 0 then return 0 end
    redis.call('LPUSH', KEYS[2], ARGV[1])
    redis.call('LTRIM', KEYS[2], 0, ${auditEntriesMax - 1})
    return 1`),
};
