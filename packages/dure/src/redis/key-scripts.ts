import { redisScript } from "./redis-client.ts";
import type { RedisScript } from "./redis-client.ts";

/**
 * Takes the key or says who has it. KEYS: the record. ARGV: fingerprint, lease in milliseconds. The fence is
 * greater than any before it, also after Redis has lost its data: the clock of the server, in microseconds.
 */
export const claimKey: RedisScript = redisScript(`
local record = redis.call('HMGET', KEYS[1], 'fingerprint', 'answer', 'leaseEndsAt', 'fence')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if record[1] then
  local isRunning = not record[2] and tonumber(record[3]) > now
  if record[2] or isRunning then
    if record[1] ~= ARGV[1] then return {'mismatch'} end
    if record[2] then return {'replayed', record[2]} end
    return {'in_flight'}
  end
end
local fence = math.max(tonumber(record[4] or '0') + 1, time[1] * 1000000 + time[2])
local text = string.format('%.0f', fence)
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'fence', text, 'leaseEndsAt', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
return {'claimed', text}
`);

/** Keeps the answer, while the key is still its owner's. ARGV: fence, answer, how long it is kept in milliseconds. */
export const keepAnswer: RedisScript = redisScript(`
local record = redis.call('HMGET', KEYS[1], 'fence', 'answer')
if record[1] ~= ARGV[1] then return 0 end
if not record[2] then redis.call('HSET', KEYS[1], 'answer', ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`);

/** Frees the key, where it is still its owner's and has no answer. ARGV: fence. */
export const freeKey: RedisScript = redisScript(`
local record = redis.call('HMGET', KEYS[1], 'fence', 'answer')
if record[1] == ARGV[1] and not record[2] then return redis.call('DEL', KEYS[1]) end
return 0
`);
