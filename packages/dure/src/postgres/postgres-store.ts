import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { silentLogger } from "../core/logger.ts";
import type { Logger } from "../core/logger.ts";
import type { ServiceStore } from "../service/service-store.ts";
import { postgresAdminStore } from "./admin-store.ts";
import { postgresInboxStore } from "./inbox-store.ts";
import { postgresFlowStore } from "./flow-store.ts";
import { guardedWrite } from "./lock-guard.ts";
import { isLockSubject, postgresLockStore } from "./lock-store.ts";
import { postgresKeyStore } from "./idempotency-store.ts";
import { createMaintenance, readRetention } from "./maintenance.ts";
import type { Retention } from "./maintenance.ts";
import { checkSchema } from "./migrate.ts";
import { Notifications } from "./notifications.ts";
import { postgresOutboxStore } from "./outbox-store.ts";
import { postgresParkingStore } from "./parking-store.ts";
import {
  boundedPool,
  checkMs,
  checkSchemaName,
  quoteIdentifier,
  statementMsMaxDefault,
} from "./pool.ts";
import type { PostgresClient, PostgresPool, PostgresPoolWithCallbacks } from "./pool.ts";
import { outboxNews } from "./relay-admin-store.ts";
import { postgresSagaStore } from "./saga-store.ts";
import { isSemaphoreNews, postgresSemaphoreStore } from "./semaphore-store.ts";
import { postgresTransactionStore } from "./transaction-store.ts";
import { walFeed } from "./wal-feed.ts";
import type { WalOptions } from "./wal-options.ts";

/** What {@link postgresStore} takes. */
export interface PostgresStoreOptions<Client extends PostgresClient> {
  /** A `pg` pool on the service's own database, or anything of its shape. Yours to end, after `dure.stop()`. */
  readonly pool: PostgresPool<Client> | PostgresPoolWithCallbacks<Client>;
  /** The schema of the library's tables. @defaultValue "dure" */
  readonly schema?: string;
  /**
   * For NOTIFY to be heard where `pool` goes through a pooler in transaction mode: a pool that goes to the
   * server directly, of one connection. Without it the service goes by looking there.
   * @defaultValue `pool`
   */
  readonly listenPool?: PostgresPool<Client> | PostgresPoolWithCallbacks<Client>;
  /** Milliseconds after which one of the library's own statements is given up and its connection closed. @defaultValue 30000 */
  readonly statementMsMax?: number;
  /**
   * Milliseconds that a transaction of the library may do nothing between two statements before the server
   * ends it. 0: as the server is set. @defaultValue 30000
   */
  readonly idleInTransactionMsMax?: number;
  readonly retention?: Retention;
  /** The relay reads the write-ahead log instead of looking into the table. All processes of a service alike. */
  readonly wal?: WalOptions;
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
  const statementMsMax = options.statementMsMax ?? statementMsMaxDefault;
  checkMs("postgresStore: statementMsMax", statementMsMax, 100);
  const idleInTransactionMsMax = options.idleInTransactionMsMax ?? 30_000;
  checkMs("postgresStore: idleInTransactionMsMax", idleInTransactionMsMax, 0);
  const schemaName = checkSchemaName(options.schema ?? "dure");
  const schema = quoteIdentifier(schemaName);
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const retention = readRetention(options.retention);
  const bounded = boundedPool(pool, statementMsMax);
  const notifications = new Notifications({
    pool: bounded,
    listenPool: boundedPool(options.listenPool ?? pool, statementMsMax),
    name: outboxNews(schemaName),
    clock,
    logger,
  });
  const locks = postgresLockStore({ pool: bounded, schema, notifications, clock });
  return {
    outbox: postgresOutboxStore(bounded, schema, {
      isTableless: options.wal?.tableless === true,
    }),
    feed: options.wal && walFeed(bounded, schema, options.wal),
    inbox: postgresInboxStore(bounded, schema),
    parking: postgresParkingStore(bounded, schema),
    transactions: postgresTransactionStore(pool, { schema, idleInTransactionMsMax }),
    sagas: postgresSagaStore(bounded, schema),
    flows: postgresFlowStore(schema),
    locks,
    guardWrite: guardedWrite(schema),
    keys: postgresKeyStore(pool, schema),
    semaphores: postgresSemaphoreStore(pool, schema, {
      name: outboxNews(schemaName),
      notifications,
    }),
    admin: postgresAdminStore(bounded, schemaName, pool),
    news: outboxNewsOf(notifications),
    check: () => checkSchema({ pool, schema: schemaName }),
    retention,
    maintain: createMaintenance({
      pool: bounded,
      patientPool: pool,
      schema,
      retention,
      clock,
      logger,
    }),
    async close() {
      await locks.close();
      await notifications.close();
    },
  };
}

/** Locks and semaphores share the channel with the outbox: what is told of them is for others. */
function outboxNewsOf(notifications: Notifications): ServiceStore["news"] {
  return {
    tell: () => notifications.tell(),
    listen: (listener) =>
      notifications.listen((subjects) => {
        if (!isSemaphoreNews(subjects) && subjects?.every(isLockSubject) !== true) listener();
      }),
  };
}
