import type { PartitionClaim } from "../core/group-membership.ts";
import { redisEval, redisScript } from "./redis-client.ts";
import type { RedisClient, RedisScript } from "./redis-client.ts";
import type { StreamNames } from "./stream-names.ts";

/** What a heartbeat brings. */
export interface StreamClaims {
  /** Which memory of Redis answers. */
  readonly memoryId: string;
  /** Undefined: the member's lease had run out, or Redis has forgotten it. */
  readonly claims: readonly PartitionClaim[] | undefined;
}

/** Renews a member's lease by Redis's clock, and takes its share of what is free. */
export async function claimPartitions(
  client: RedisClient,
  names: StreamNames,
  member: {
    readonly group: string;
    readonly id: string;
    readonly leaseMs: number;
    readonly partitions: number;
    readonly isJoining: boolean;
  },
): Promise<StreamClaims> {
  const { group, id, leaseMs, partitions, isJoining } = member;
  const keys = [names.memory, names.members(group), names.owners(group), names.epochs(group)];
  const args = [id, String(leaseMs), String(partitions), isJoining ? "1" : "0"];
  // An answer that comes after the lease is no answer.
  const reply = await redisEval(client, heartbeat, { keys, args }, { timeoutMs: leaseMs });
  const [memoryId, isMember, ...rest] = reply as readonly (string | number)[]; // as the script returns it
  const claims: PartitionClaim[] = [];
  for (let index = 0; index < rest.length; index += 3) {
    const [partition, epoch, surplus] = rest.slice(index, index + 3).map(Number);
    if (partition === undefined || epoch === undefined) break;
    claims.push({ partition, epoch, isSurplus: surplus === 1 });
  }
  return { memoryId: String(memoryId), claims: isMember === 1 ? claims : undefined };
}

/** Gives partitions back at once; all of them and the membership when `isLeaving`. */
export async function releasePartitions(
  client: RedisClient,
  names: StreamNames,
  member: {
    readonly group: string;
    readonly id: string;
    readonly partitions: readonly number[];
    readonly isLeaving: boolean;
  },
): Promise<void> {
  const { group, id, partitions, isLeaving } = member;
  const keys = [names.members(group), names.owners(group)];
  await redisEval(client, release, {
    keys,
    args: [id, isLeaving ? "1" : "0", ...partitions.map(String)],
  });
}

/**
 * KEYS memory, members, owners, epochs; ARGV member, lease in ms, partitions, '1' to join
 * → memory id, 1 if a member, (partition, epoch, 1 if surplus)…
 */
const heartbeat: RedisScript = redisScript(`
local member, lease, partitions = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local memory = redis.call('HGET', KEYS[1], 'id') or ''
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local own = tonumber(redis.call('HGET', KEYS[2], member) or '0')
if ARGV[4] ~= '1' and own <= now then return {memory, 0} end
redis.call('HSET', KEYS[2], member, string.format('%.0f', now + lease))
local all = redis.call('HGETALL', KEYS[2])
local alive, ids = {}, {}
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) > now then
    alive[all[i]] = true
    ids[#ids + 1] = all[i]
  else
    redis.call('HDEL', KEYS[2], all[i])
  end
end
table.sort(ids)
local rank = 0
for i, id in ipairs(ids) do if id == member then rank = i - 1 end end
local share = math.floor(partitions / #ids)
if rank < partitions % #ids then share = share + 1 end
local owned, free = {}, {}
for partition = 0, partitions - 1 do
  local owner = redis.call('HGET', KEYS[3], partition)
  if owner == member then owned[#owned + 1] = partition
  elseif not owner or not alive[owner] then free[#free + 1] = partition end
end
for _, partition in ipairs(free) do
  if #owned < share then
    redis.call('HSET', KEYS[3], partition, member)
    redis.call('HINCRBY', KEYS[4], partition, 1)
    owned[#owned + 1] = partition
  end
end
table.sort(owned)
local result = {memory, 1}
for i, partition in ipairs(owned) do
  result[#result + 1] = partition
  result[#result + 1] = tonumber(redis.call('HGET', KEYS[4], partition) or '0')
  result[#result + 1] = i > share and 1 or 0
end
return result
`);

/** KEYS members, owners; ARGV member, '1' to leave, partitions… */
const release: RedisScript = redisScript(`
local function give(partition)
  if redis.call('HGET', KEYS[2], partition) == ARGV[1] then redis.call('HDEL', KEYS[2], partition) end
end
for i = 3, #ARGV do give(ARGV[i]) end
if ARGV[2] == '1' then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do give(all[i]) end
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return 'OK'
`);
