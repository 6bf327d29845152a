export { classifyRedisError } from "./redis-client.ts";
export type { IoredisClient, NodeRedisClient, RedisClient, RedisFailure } from "./redis-client.ts";
export { redisStreamsTransport } from "./streams-transport.ts";
export type { RedisStreams, RedisStreamsOptions, StreamsGroupLag } from "./streams-transport.ts";
