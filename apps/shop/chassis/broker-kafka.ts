import { Admin, Consumer, Producer } from "@platformatic/kafka";
import { kafkaTransport } from "dure/kafka";
import type { KafkaBrokerConfig } from "./broker-config.ts";
import { messagingLogger } from "./messaging-logger.ts";
import type { Broker, BrokerOptions } from "./opened-broker.ts";

/** Events by way of Kafka. */
export function openKafkaBroker(options: BrokerOptions<KafkaBrokerConfig>): Broker {
  const { config, service, logger, resources } = options;
  const connection = {
    clientId: `shop-${service}`,
    bootstrapBrokers: [...config.brokers],
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
