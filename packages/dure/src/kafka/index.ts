export type {
  KafkaAdmin,
  KafkaAssignment,
  KafkaCompression,
  KafkaConsumer,
  KafkaConsumerSettings,
  KafkaFetchedPartition,
  KafkaMetadata,
  KafkaOffset,
  KafkaProducer,
  KafkaRecordToSend,
} from "./clients.ts";
export type { KafkaGroupOptions } from "./kafka-group.ts";
export type { KafkaTopicOptions } from "./kafka-topics.ts";
export { kafkaTransport } from "./kafka-transport.ts";
export type {
  KafkaFetchOptions,
  KafkaLag,
  KafkaTransport,
  KafkaTransportOptions,
} from "./kafka-transport.ts";
