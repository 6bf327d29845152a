export { classifyRedisError } from "./redis-client.ts";
export type { IoredisClient, NodeRedisClient, RedisClient, RedisFailure } from "./redis-client.ts";
export { redisStreamsTransport } from "./streams-transport.ts";
export type { RedisStreams, RedisStreamsOptions, StreamsGroupLag } from "./streams-transport.ts";
export { redisLockStore } from "./lock-store.ts";
export type { RedisLockStoreOptions } from "./lock-store.ts";
export { redisIdempotency } from "./redis-idempotency.ts";
export type { RedisIdempotencyOptions, RedisKeyedWork } from "./redis-idempotency.ts";
