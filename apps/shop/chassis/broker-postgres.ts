import { migrate, postgresTransport } from "dure/postgres";
import type { PostgresBrokerConfig } from "./broker-config.ts";
import type { Broker, BrokerOptions } from "./opened-broker.ts";
import { createDatabasePool } from "./database.ts";
import { messagingLogger } from "./messaging-logger.ts";

/** Connections to the event log: one listens, the others publish and read. */
const busPoolMax = 6;

/** The event log in a database that all services share. */
export function openPostgresBroker(options: BrokerOptions<PostgresBrokerConfig>): Broker {
  const { config, service, logger, resources } = options;
  const bus = createDatabasePool({ url: config.url, service, poolMax: busPoolMax, logger });
  resources.defer(() => bus.end());
  const transport = postgresTransport({
    pool: bus,
    logger: messagingLogger(logger),
    ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
  });
  resources.defer(() => transport.close());
  return { transport, prepare: async () => void (await migrate({ pool: bus })) };
}
