import type { Redis } from "ioredis";
import type { createClient } from "redis";
import { expectTypeOf, it } from "vitest";
import type { RedisClient } from "./redis-client.ts";

it("the clients of both packages fit as they are, and others do not", () => {
  expectTypeOf<ReturnType<typeof createClient>>().toExtend<RedisClient>();
  expectTypeOf<Redis>().toExtend<RedisClient>();
  expectTypeOf<{ query(text: string): Promise<unknown> }>().not.toExtend<RedisClient>();
});
