/** The event log in a database that all services share. */
export interface PostgresBrokerConfig {
  readonly kind: "postgres";
  readonly url: string;
}

/** Redis Streams, under a prefix of this shop's own. */
export interface RedisBrokerConfig {
  readonly kind: "redis";
  readonly url: string;
  readonly prefix: string;
}

/** Kafka, by the addresses of some of its brokers. */
export interface KafkaBrokerConfig {
  readonly kind: "kafka";
  readonly brokers: readonly string[];
}

/** What carries the events between the services, and where it is. */
export type BrokerConfig = PostgresBrokerConfig | KafkaBrokerConfig | RedisBrokerConfig;
