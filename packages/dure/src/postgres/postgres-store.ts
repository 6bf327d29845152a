import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { silentLogger } from "../core/logger.ts";
import type { Logger } from "../core/logger.ts";
import type { ServiceStore } from "../service/service-store.ts";
import { postgresAdminStore } from "./admin-store.ts";
import { postgresInboxStore } from "./inbox-store.ts";
import { createMaintenance, readRetention } from "./maintenance.ts";
import type { Retention } from "./maintenance.ts";
import { checkSchema } from "./migrate.ts";
import { Notifications } from "./notifications.ts";
import { postgresOutboxStore } from "./outbox-store.ts";
import { postgresParkingStore } from "./parking-store.ts";
import { checkSchemaName, quoteIdentifier } from "./pool.ts";
import type { PostgresClient, PostgresPool, PostgresPoolWithCallbacks } from "./pool.ts";
import { outboxNews } from "./relay-admin-store.ts";
import { postgresTransactionStore } from "./transaction-store.ts";

/** What {@link postgresStore} takes. */
export interface PostgresStoreOptions<Client extends PostgresClient> {
  /** A `pg` pool on the service's own database, or anything of its shape. Yours to end, after `dure.stop()`. */
  readonly pool: PostgresPool<Client> | PostgresPoolWithCallbacks<Client>;
  /** The schema of the library's tables. @defaultValue "dure" */
  readonly schema?: string;
  readonly retention?: Retention;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

/**
 * Everything that a service keeps, in one PostgreSQL database: the one that its business rows are in.
 * @throws CONFIGURATION_INVALID
 */
export function postgresStore<Client extends PostgresClient>(
  options: PostgresStoreOptions<Client>,
): ServiceStore<Client> {
  const pool: PostgresPool<Client> = options.pool;
  const schemaName = checkSchemaName(options.schema ?? "dure");
  const schema = quoteIdentifier(schemaName);
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const retention = readRetention(options.retention);
  const notifications = new Notifications({ pool, name: outboxNews(schemaName), clock, logger });
  return {
    outbox: postgresOutboxStore(pool, schema),
    inbox: postgresInboxStore(pool, schema),
    parking: postgresParkingStore(pool, schema),
    transactions: postgresTransactionStore(pool, schema),
    admin: postgresAdminStore(pool, schemaName),
    news: {
      tell: () => notifications.tell(),
      listen: (listener) => notifications.listen(listener),
    },
    check: () => checkSchema({ pool, schema: schemaName }),
    retention,
    maintain: createMaintenance({ pool, schema, retention, clock, logger }),
    close: () => notifications.close(),
  };
}
