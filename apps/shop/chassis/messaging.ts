import { createDure } from "dure";
import type { AnyEventDefinition, DrivenSagas, Dure, DureStatus, OrderCounts } from "dure";
import { migrate, postgresStore } from "dure/postgres";
import type { Pool, PoolClient } from "pg";
import type { Logger } from "pino";
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import { openBroker } from "./broker.ts";
import { brokerOf } from "./config.ts";
import type { ServiceConfig } from "./config.ts";
import { messagingLogger } from "./messaging-logger.ts";

/** The consistency layer of one service of the shop. */
export type ServiceDure = Dure<PoolClient>;

/** What {@link createMessaging} takes. */
export interface MessagingOptions {
  readonly config: ServiceConfig;
  /** The service's own pool: events commit with its rows. */
  readonly pool: Pool;
  /** Every event that the shop knows. */
  readonly contracts: readonly AnyEventDefinition[];
  readonly logger: Logger;
  /** The sagas that this service drives. */
  readonly sagas?: DrivenSagas;
  /** Closes what is opened here, in reverse order. */
  readonly resources: AsyncDisposableStack;
}

/**
 * Outbox and inbox in the service's own database, and the shop's broker as transport. Register
 * handlers, then `await dure.start()`; it is stopped with the service's other resources.
 */
export async function createMessaging(options: MessagingOptions): Promise<ServiceDure> {
  const { config, pool, resources } = options;
  const logger = messagingLogger(options.logger);
  await migrate({ pool });
  const leases = config.leaseMs === undefined ? {} : { leaseMs: config.leaseMs };
  const { transport, prepare } = openBroker({
    config: brokerOf(config),
    ...leases,
    service: config.name,
    logger: options.logger,
    resources,
  });
  await prepare();
  const dure = createDure({
    service: config.name,
    store: postgresStore<PoolClient>({ pool, logger }),
    transport,
    contracts: options.contracts,
    consumer: { concurrency: 3 },
    relay: leases,
    ...(options.sagas === undefined ? {} : { sagas: { ...options.sagas, ...leases } }),
    logger,
  });
  resources.defer(async () => {
    await dure.stop({ withinMs: 10_000 });
  });
  return dure;
}

/** Backlog, dead letters and order of the service's messages, under `/metrics`. */
export function exposeMessagingMetrics(dure: ServiceDure, registry: Registry): void {
  // One look at the database for all gauges of a scrape: they are collected side by side.
  let looking: Promise<DureStatus> | undefined;
  const look = (): Promise<DureStatus> =>
    (looking ??= dure.status().finally(() => {
      looking = undefined;
    }));
  const gauge = (name: string, help: string, read: (status: DureStatus) => number): void => {
    const registers = [registry];
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        this.set(read(await look()));
      },
    });
  };
  const perGroup = (status: DureStatus, count: (counts: OrderCounts) => number): number =>
    Object.values(status.order).reduce((sum, counts) => sum + count(counts), 0);

  gauge(
    "dure_outbox_pending_messages",
    "Events that no relay has published yet",
    (status) => status.pending,
  );
  gauge(
    "dure_outbox_oldest_pending_age_seconds",
    "Age of the oldest of them",
    (status) => status.oldestPendingSeconds,
  );
  gauge("dure_dead_letters", "Messages that failed for good", (status) => status.deadLetters);
  gauge(
    "dure_parked_keys",
    "Keys that wait behind a failed message",
    (status) => status.parkedKeys,
  );
  gauge(
    "dure_inbox_duplicates",
    "Messages that were delivered again and dropped, since the start",
    (status) => perGroup(status, (counts) => counts.duplicates),
  );
  gauge(
    "dure_inbox_tombstones",
    "Messages in the place of events that were given up before they were published, since the start",
    (status) => perGroup(status, (counts) => counts.tombstones),
  );
  gauge(
    "dure_inbox_redriven",
    "Messages that an operator had sent again, since the start",
    (status) => perGroup(status, (counts) => counts.redriven),
  );
  gauge(
    "dure_key_order_violations",
    "Gaps and reorders seen on the wire, since the start",
    (status) => perGroup(status, (counts) => counts.gaps + counts.reorders),
  );
}
