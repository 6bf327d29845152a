import type { RedisClient } from "dure/redis";
import type { Variant } from "../load.ts";
import { importPeer } from "./import-peer.ts";

interface Redis {
  call(...args: [command: string, ...args: string[]]): Promise<unknown>;
  disconnect(): void;
}

interface Redlock {
  lock(resource: string, ttl: number): Promise<{ unlock(): Promise<void> }>;
}

interface Mutex {
  acquire(): Promise<void>;
  release(): Promise<void>;
}

/** The peers, and the client that all share with Dure. */
export interface RedisPeers extends AsyncDisposable {
  readonly client: RedisClient;
  readonly variants: readonly Variant[];
}

const leaseMs = 30_000;

/** redlock and redis-semaphore on one Redis, set as Dure is: leases of 30 seconds. */
export async function openRedisPeers(url: string): Promise<RedisPeers> {
  const { Redis } = (await importPeer("ioredis")) as { Redis: new (url: string) => Redis };
  const { default: RedlockClass } = (await importPeer("redlock")) as {
    default: new (clients: readonly Redis[]) => Redlock;
  };
  const { Mutex: MutexClass } = (await importPeer("redis-semaphore")) as {
    Mutex: new (client: Redis, key: string, options: { lockTimeout: number }) => Mutex;
  };
  const client = new Redis(url);
  const redlock = new RedlockClass([client]);
  return {
    client,
    variants: [
      {
        name: "redlock 4.2, one Redis: lease without renewal, no token, not durable",
        async work(writer) {
          const lock = await redlock.lock(`redlock:${writer}`, leaseMs);
          await lock.unlock();
        },
      },
      {
        name: "redis-semaphore 5.8 Mutex: lease, renewed, no token, not durable",
        async work(writer) {
          const mutex = new MutexClass(client, `mutex:${writer}`, { lockTimeout: leaseMs });
          await mutex.acquire();
          await mutex.release();
        },
      },
    ],
    async [Symbol.asyncDispose]() {
      client.disconnect();
    },
  };
}
