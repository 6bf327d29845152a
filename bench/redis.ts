import { redisStreamsTransport } from "dure/redis";
import type { RedisStreams } from "dure/redis";
import { createClient } from "redis";
import { startRedisServer } from "../tools/servers/redis.ts";

/** A Redis of its own, and transports on it. */
export interface BenchRedis extends AsyncDisposable {
  /** A transport with connections of its own, closed with the server. */
  open(): Promise<RedisStreams>;
  /** Entries in all streams of messages. */
  published(): Promise<number>;
  /** Adds entries with the bare client, pipelined, over as many streams; resolves to the rate. */
  addBare(total: number, text: string): Promise<number>;
  flush(): Promise<void>;
}

const bareTogether = 1_000;
const streams = 16;

/** Starts it: `appendfsync everysec`, as Redis comes once its file is on. */
export async function openRedis(): Promise<BenchRedis> {
  const server = await startRedisServer({ appendFsync: "everysec" });
  const closing = new AsyncDisposableStack();
  closing.defer(() => server[Symbol.asyncDispose]());
  const client = await connect(server.url, closing);
  return {
    open: () => openStreams(server.url, closing),
    async published() {
      const names = await client.keys("{dure}:stream:*");
      const lengths = await Promise.all(names.map((name) => client.xLen(name)));
      return lengths.reduce((sum, length) => sum + length, 0);
    },
    async addBare(total, text) {
      const startedAt = performance.now();
      for (let from = 0; from < total; from += bareTogether) {
        const count = Math.min(bareTogether, total - from);
        await Promise.all(
          Array.from({ length: count }, (_, index) =>
            client.sendCommand(["XADD", `bare:${(from + index) % streams}`, "*", "data", text]),
          ),
        );
      }
      return (total * 1_000) / (performance.now() - startedAt);
    },
    flush: async () => void (await client.flushAll()),
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}

async function openStreams(url: string, closing: AsyncDisposableStack): Promise<RedisStreams> {
  const [client, blockingClient] = [await connect(url, closing), await connect(url, closing)];
  const transport = redisStreamsTransport({ client, blockingClient });
  closing.defer(() => transport.close());
  return transport;
}

async function connect(url: string, closing: AsyncDisposableStack) {
  const client = createClient({ url });
  client.on("error", () => undefined); // what is asked of it says so, too
  await client.connect();
  closing.defer(() => client.destroy());
  return client;
}
