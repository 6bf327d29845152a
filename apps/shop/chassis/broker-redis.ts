import { redisStreamsTransport } from "dure/redis";
import type { Logger } from "pino";
import { createClient } from "redis";
import type { RedisBrokerConfig } from "./broker-config.ts";
import type { Broker, BrokerOptions } from "./opened-broker.ts";
import type { ServiceName } from "./config.ts";
import { messagingLogger } from "./messaging-logger.ts";

/** Redis Streams, with a connection of its own for what waits. */
export function openRedisBroker(options: BrokerOptions<RedisBrokerConfig>): Broker {
  const { config, service, logger, resources } = options;
  const connect = () => connectRedis({ url: config.url, service, logger, resources });
  const transport = redisStreamsTransport({
    client: connect(),
    blockingClient: connect(),
    prefix: config.prefix,
    logger: messagingLogger(logger),
    ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
  });
  resources.defer(() => transport.close());
  return { transport, prepare: () => transport.check() };
}

/** A client that comes back by itself; it is connected soon, and what it is asked before waits for that. */
export function connectRedis(options: {
  readonly url: string;
  readonly service: ServiceName;
  readonly logger: Logger;
  readonly resources: AsyncDisposableStack;
}) {
  const { url, service, logger, resources } = options;
  const client = createClient({
    url,
    name: `shop-${service}`,
    socket: {
      connectTimeout: 5_000,
      reconnectStrategy: (attempts) => Math.min(50 * attempts, 1_000),
    },
  });
  let isAway = false;
  client.on("error", (error: unknown) => {
    if (!isAway) logger.warn({ err: error }, "connection to Redis lost; trying again");
    isAway = true;
  });
  client.on("ready", () => (isAway = false));
  // It ends with the service; until then it tries again by itself.
  client.connect().catch(() => undefined);
  resources.defer(() => client.destroy());
  return client;
}

/** Begins with nothing: removes what a shop has left under its prefix. Rejects when Redis does not answer. */
export async function clearRedis({ url, prefix }: RedisBrokerConfig): Promise<void> {
  const client = createClient({ url, socket: { connectTimeout: 5_000, reconnectStrategy: false } });
  client.on("error", () => undefined); // said by connect, too
  await client.connect();
  try {
    const pattern = `{${prefix}}:*`;
    for await (const keys of client.scanIterator({ MATCH: pattern, COUNT: 1_000 })) {
      if (keys.length > 0) await client.unlink(keys);
    }
  } finally {
    client.destroy();
  }
}
