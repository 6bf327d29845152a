import { Redis } from "ioredis";
import { createClient } from "redis";
import { redisCommand, type RedisClient } from "../../src/redis/redis-client.ts";

/** The two connections that a transport takes, made and closed by the test. */
export interface RedisConnection {
  readonly client: RedisClient;
  readonly blockingClient: RedisClient;
  readonly send: (command: string, ...args: string[]) => Promise<unknown>;
  close(): Promise<void>;
}

/** Connects as a user would, and finds the server again when it was away. */
export async function connectRedis(
  url: string,
  kind: "redis" | "ioredis" = "redis",
): Promise<RedisConnection> {
  const connect = kind === "redis" ? connectNodeRedis : connectIoredis;
  const [first, second] = await Promise.all([connect(url), connect(url)]);
  return {
    client: first.client,
    blockingClient: second.client,
    send: (command, ...args) => redisCommand(first.client, [command, ...args]),
    async close() {
      first.close();
      second.close();
    },
  };
}

async function connectNodeRedis(url: string) {
  const client = createClient({ url, socket: { reconnectStrategy: 50 } });
  client.on("error", () => {}); // every lost connection says so; commands say so too
  await client.connect();
  return { client, close: () => client.destroy() };
}

async function connectIoredis(url: string) {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => 50 });
  client.on("error", () => {});
  await client.connect();
  return { client, close: () => client.disconnect() };
}
