import { migrate, postgresTransport } from "dure/postgres";
import type { Bus, BusOptions } from "./bus.ts";
import { createDatabasePool } from "./database.ts";
import { openKafkaBus } from "./kafka-bus.ts";
import { messagingLogger } from "./logger.ts";

/** The transport that the configuration names: the handlers and the events are the same on each. */
export function openBus(options: BusOptions): Bus {
  return options.config.kafkaBrokers === undefined
    ? openPostgresBus(options)
    : openKafkaBus(options.config.kafkaBrokers, options);
}

function openPostgresBus({ config, logger, poolMax, resources }: BusOptions): Bus {
  const pool = createDatabasePool({ url: config.busUrl, service: config.name, poolMax, logger });
  resources.defer(() => pool.end());
  const leases = config.leaseMs === undefined ? {} : { leaseMs: config.leaseMs };
  const transport = postgresTransport({ pool, logger: messagingLogger(logger), ...leases });
  resources.defer(() => transport.close());
  return { transport, prepare: async () => void (await migrate({ pool })) };
}
