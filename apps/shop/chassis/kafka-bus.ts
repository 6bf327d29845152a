import { Admin, Consumer, Producer } from "@platformatic/kafka";
import { kafkaTransport } from "dure/kafka";
import type { Bus, BusOptions } from "./bus.ts";
import { messagingLogger } from "./logger.ts";

/** Events by way of Kafka. */
export function openKafkaBus(
  brokers: readonly string[],
  { config, logger, resources }: BusOptions,
): Bus {
  const connection = {
    clientId: `shop-${config.name}`,
    bootstrapBrokers: [...brokers],
    connectTimeout: 5_000,
    requestTimeout: 10_000,
    retryDelay: 250,
  };
  const producer = new Producer(connection);
  const admin = new Admin(connection);
  resources.defer(async () => {
    await producer.close();
    await admin.close();
  });
  const transport = kafkaTransport({
    producer,
    admin,
    createConsumer: (settings) => new Consumer({ ...connection, ...settings }),
    topics: { partitions: 6 },
    logger: messagingLogger(logger),
  });
  resources.defer(() => transport.close());
  return { transport, prepare: () => Promise.resolve() };
}
