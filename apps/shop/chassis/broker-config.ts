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

/** What carries the events between the services, and where it is. */
export type BrokerConfig = PostgresBrokerConfig | RedisBrokerConfig;
