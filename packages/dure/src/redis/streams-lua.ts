import { redisScript } from "./redis-client.ts";
import type { RedisScript } from "./redis-client.ts";

/**
 * How far a stream may be trimmed: to the lowest entry that some group has not read or not acknowledged, and
 * not beyond what is to be kept for its age. Groups are asked in the same script as the trim, so nothing comes between.
 */
const trimFunction = `
local function next_id(id)
  local time, sequence = string.match(id, '^(%d+)%-(%d+)$')
  return time .. '-' .. string.format('%.0f', tonumber(sequence) + 1)
end
local function is_before(a, b)
  local at, as = string.match(a, '^(%d+)%-(%d+)$')
  local bt, bs = string.match(b, '^(%d+)%-(%d+)$')
  if tonumber(at) ~= tonumber(bt) then return tonumber(at) < tonumber(bt) end
  return tonumber(as) < tonumber(bs)
end
local function field(reply, name)
  for i = 1, #reply, 2 do if reply[i] == name then return reply[i + 1] end end
end
-- The first entry that a group still needs; nil: there is no group.
local function first_needed(stream)
  local first
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local needed = next_id(field(group, 'last-delivered-id'))
    if field(group, 'pending') > 0 then
      local pending = redis.call('XPENDING', stream, field(group, 'name'))
      if pending[2] then needed = pending[2] end
    end
    if not first or is_before(needed, first) then first = needed end
  end
  return first
end
local function trim(stream, oldest, limit)
  local needed = first_needed(stream)
  local minimum = oldest
  if needed and is_before(needed, minimum) then minimum = needed end
  return redis.call('XTRIM', stream, 'MINID', '~', minimum, 'LIMIT', limit)
end
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
`;

/** Makes the memory's marker if it has none. KEYS memory; ARGV new id, partitions. → id, partitions */
export const openMemory: RedisScript = redisScript(`
redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
return redis.call('HMGET', KEYS[1], 'id', 'partitions')
`);

/**
 * Publishes a batch, or refuses it as a whole. Behind a message that its stream does not take, none of that
 * stream is taken. Not by name but by its text: no NOSCRIPT can then turn two calls round.
 *
 * KEYS memory, fences, losses, topics, bell, streams…
 * ARGV memory id as known ('' if not), fence count, (fence, epoch)…, source count, (source, incarnation)…,
 *   stream count, (topic, partition, last id as known or '')…, longest stream, message count, (stream, envelope, data)…
 * → {'fenced', fence, epoch} | {'lost', what, sources…} | {'done', {id or '!' code…}, memory id}
 */
export const publishText: string = `${trimFunction}
local next = 1
local function take() local value = ARGV[next]; next = next + 1; return value end
local known_memory = take()
local fences, sources, streams = {}, {}, {}
for i = 1, tonumber(take()) do fences[i] = {take(), tonumber(take())} end
for i = 1, tonumber(take()) do sources[i] = {take(), tonumber(take())} end
for i = 1, tonumber(take()) do streams[i] = {topic = take(), partition = take(), last = take(), key = KEYS[5 + i]} end
for _, fence in ipairs(fences) do
  local newest = tonumber(redis.call('HGET', KEYS[2], fence[1]) or '0')
  if newest > fence[2] then return {'fenced', fence[1], tostring(newest)} end
end

-- Has Redis lost what it had taken? Its memory is another one, or a stream ends before what was published.
local memory = redis.call('HGET', KEYS[1], 'id') or ''
local loss
if known_memory ~= '' and memory ~= known_memory then loss = 'its memory is a new one' end
for _, stream in ipairs(streams) do
  if not loss and stream.last ~= '' then
    local info = redis.pcall('XINFO', 'STREAM', stream.key)
    if info.err then
      if not string.find(info.err, 'WRONGTYPE') then loss = 'stream ' .. stream.key .. ' is gone' end
    elseif is_before(field(info, 'last-generated-id'), stream.last) then
      loss = 'stream ' .. stream.key .. ' ends at ' .. field(info, 'last-generated-id') .. ', before ' .. stream.last
    end
  end
end
-- Written down, for all publishers of these sources, until their outboxes have sent again.
local lost = {}
for _, source in ipairs(sources) do
  local since = redis.call('HGET', KEYS[3], source[1])
  if since and source[2] > tonumber(since) then
    redis.call('HDEL', KEYS[3], source[1])
    since = nil
  elseif loss and not since then
    redis.call('HSET', KEYS[3], source[1], source[2])
    since = source[2]
  end
  if since then lost[#lost + 1] = source[1] end
end
if loss or #lost > 0 then return {'lost', loss or 'it was seen before', memory, unpack(lost)} end

for _, fence in ipairs(fences) do redis.call('HSET', KEYS[2], fence[1], fence[2]) end
local longest = tonumber(take())
local partitions, is_told = {}, {}
for _, stream in ipairs(streams) do
  local length = redis.pcall('XLEN', stream.key)
  if type(length) == 'table' then
    stream.refusal = '!' .. length.err
  elseif length >= longest then
    trim(stream.key, string.format('%.0f', now_ms() + 1) .. '-0', 10000)
    if redis.call('XLEN', stream.key) >= longest then
      stream.refusal = '!FULL'
    end
  end
end
local outcomes = {}
for i = 1, tonumber(take()) do
  local stream, envelope, data = streams[tonumber(take())], take(), take()
  if not stream.refusal then
    local id = redis.pcall('XADD', stream.key, '*', 'envelope', envelope, 'data', data)
    if type(id) == 'table' then
      stream.refusal = '!' .. id.err
    else
      outcomes[i] = id
      if not is_told[stream.partition] then
        is_told[stream.partition] = true
        partitions[#partitions + 1] = stream.partition
      end
      if not stream.is_known then
        stream.is_known = true
        redis.call('SADD', KEYS[4], stream.topic)
      end
    end
  end
  if stream.refusal then outcomes[i] = stream.refusal end
end
if #partitions > 0 then
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', '1000', '*', 'partitions', table.concat(partitions, ','))
end
return {'done', outcomes, memory}
`;

/** Makes a group where it is new. KEYS topics, streams…; ARGV group, start, topics… */
export const register: RedisScript = redisScript(`
for i = 3, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
for i = 2, #KEYS do
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[1], ARGV[2], 'MKSTREAM')
  if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then return made end
end
return 'OK'
`);

/**
 * Gives a member what is new for it, or what others (or an earlier self) have taken and not finished, in the
 * order of the stream; nothing of partitions that are not its own any more: a member that was frozen takes nothing
 * away from the next.
 *
 * KEYS members, owners, streams…
 * ARGV group, member, entries per stream, bytes in all, (partition, '>' or where to go on among what is pending)…
 * → per stream {} (not ours, or no room), {'NOGROUP'} or {another error}, or {next, {id, envelope, data, id, …}}
 */
export const read: RedisScript = redisScript(`${trimFunction}
local function refusal(reply)
  if string.find(reply.err, 'NOGROUP') then return 'NOGROUP' end
  return reply.err
end
local group, member, count, room = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local results = {}
local lease = tonumber(redis.call('HGET', KEYS[1], member) or '0')
local is_alive = lease > now_ms()
for i = 3, #KEYS do
  local partition, from = ARGV[5 + (i - 3) * 2], ARGV[6 + (i - 3) * 2]
  local result = {}
  if is_alive and room > 0 and redis.call('HGET', KEYS[2], partition) == member then
    local entries
    local next = '>'
    if from == '>' then
      local reply = redis.pcall('XREADGROUP', 'GROUP', group, member, 'COUNT', count, 'STREAMS', KEYS[i], '>')
      if reply and reply.err then result = {refusal(reply)} else entries = reply and reply[1][2] or {} end
    else
      local reply = redis.pcall('XAUTOCLAIM', KEYS[i], group, member, '0', from, 'COUNT', count)
      if reply.err then
        result = {refusal(reply)}
      else
        entries = reply[2]
        if reply[1] ~= '0-0' then
          next = reply[1]
        else
          -- Nothing is left with those who are gone, and they can take nothing any more.
          for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[i], group)) do
            if field(consumer, 'name') ~= member and field(consumer, 'pending') == 0 then
              redis.call('XGROUP', 'DELCONSUMER', KEYS[i], group, field(consumer, 'name'))
            end
          end
        end
      end
    end
    if entries then
      local flat = {}
      for _, entry in ipairs(entries) do
        flat[#flat + 1] = entry[1]
        flat[#flat + 1] = entry[2][2]
        flat[#flat + 1] = entry[2][4]
        room = room - #entry[2][2] - #entry[2][4]
      end
      result = {next, flat}
    end
  end
  results[i - 2] = result
end
return results
`);

/** Acknowledges entries, and trims what nobody needs. KEYS streams…; ARGV group, milliseconds to keep, per stream: count, ids… */
export const acknowledge: RedisScript = redisScript(`${trimFunction}
local oldest = string.format('%.0f', now_ms() - tonumber(ARGV[2])) .. '-0'
local next = 3
for i = 1, #KEYS do
  local count = tonumber(ARGV[next])
  for j = 1, count, 1000 do
    local last = math.min(count, j + 999)
    redis.pcall('XACK', KEYS[i], ARGV[1], unpack(ARGV, next + j, next + last))
  end
  next = next + count + 1
  if redis.call('EXISTS', KEYS[i]) == 1 then trim(KEYS[i], oldest, 1000) end
end
return 'OK'
`);

/** Trims one stream by age as far as no group needs it. KEYS stream; ARGV milliseconds to keep → entries that went */
export const trimByAge: RedisScript = redisScript(`${trimFunction}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return trim(KEYS[1], string.format('%.0f', now_ms() - tonumber(ARGV[1])) .. '-0', 10000)
`);

/** KEYS streams of a topic… → {group, messages not acknowledged, …} */
export const lag: RedisScript = redisScript(`${trimFunction}
local names, counts = {}, {}
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[i])) do
      local name = field(group, 'name')
      local behind = field(group, 'lag')
      -- Redis does not know after a deletion in the middle: counted, to a bound.
      if not behind then
        behind = #redis.call('XRANGE', KEYS[i], '(' .. field(group, 'last-delivered-id'), '+', 'COUNT', 10000)
      end
      if not counts[name] then names[#names + 1] = name; counts[name] = 0 end
      counts[name] = counts[name] + behind + field(group, 'pending')
    end
  end
end
local result = {}
for _, name in ipairs(names) do
  result[#result + 1] = name
  result[#result + 1] = counts[name]
end
return result
`);
