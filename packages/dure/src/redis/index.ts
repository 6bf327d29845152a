export { classifyRedisError } from "./redis-client.ts";
export type { IoredisClient, NodeRedisClient, RedisClient, RedisFailure } from "./redis-client.ts";
