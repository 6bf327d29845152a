import type { BrokerConfig } from "./broker-config.ts";
import type { Broker, BrokerOptions } from "./opened-broker.ts";
import { openKafkaBroker } from "./broker-kafka.ts";
import { openPostgresBroker } from "./broker-postgres.ts";
import { openRedisBroker } from "./broker-redis.ts";

type Opener<Kind> = (options: BrokerOptions<Extract<BrokerConfig, { kind: Kind }>>) => Broker;

/** One row for each broker. Opening does not wait for its server: it may be away for a while. */
const openers: { readonly [Kind in BrokerConfig["kind"]]: Opener<Kind> } = {
  postgres: openPostgresBroker,
  kafka: openKafkaBroker,
  redis: openRedisBroker,
};

/** Opens the broker that the configuration names. */
export function openBroker(options: BrokerOptions): Broker {
  const open = openers[options.config.kind] as (options: BrokerOptions) => Broker; // the row of its kind
  return open(options);
}
