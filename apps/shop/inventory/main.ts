import { Gauge } from "prom-client";
import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { createMessaging, exposeMessagingMetrics } from "../chassis/messaging.ts";
import { migrate } from "../chassis/migrate.ts";
import { startService } from "../chassis/start-service.ts";
import { shopEvents } from "../contracts/events.ts";
import { sweepExpiredReservations } from "./expiry-sweep.ts";
import { registerHandlers } from "./handlers.ts";
import { registerInternalRoutes } from "./internal-routes.ts";
import { createProducts } from "./products.ts";
import { countExpiredReservations } from "./reports.ts";
import { registerProductRoutes } from "./routes.ts";
import { registerStepRoutes } from "./step-routes.ts";
import { createInventorySteps } from "./steps.ts";

/** What may be set otherwise. */
export interface InventoryOptions {
  /** How often reservations that ran out are looked for. @defaultValue 5000 */
  readonly sweepEveryMs?: number;
}

/** Starts the service that owns stock, reservations and their semantic locks. */
export function startInventory(
  config: ServiceConfig,
  { sweepEveryMs: everyMs = 5_000 }: InventoryOptions = {},
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax, instruments } = config;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger, instruments });
    resources.defer(() => pool.end());
    await migrate(pool, new URL("migrations/", import.meta.url));

    const server = await createHttpServer({
      service: name,
      description: "Stock, and who has what of it set aside.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
      instruments,
    });
    const dure = await createMessaging({ config, pool, contracts: shopEvents, logger, resources });
    registerHandlers(dure);
    registerProductRoutes(server.app, createProducts(pool, dure));
    registerInternalRoutes(server.app, pool);
    registerStepRoutes(server.app, createInventorySteps(dure));
    exposeMessagingMetrics(dure, server.metrics);
    // Of choreographed orders too, which nothing sweeps: their goods may already be on their way.
    new Gauge({
      name: "inventory_expired_reservations",
      help: "Reservations that are still held after their time",
      registers: [server.metrics],
      async collect() {
        this.set(await countExpiredReservations(pool));
      },
    });
    await dure.start();
    const stopping = new AbortController();
    const sweeping = sweepExpiredReservations({ pool, dure, everyMs }, stopping.signal);
    resources.defer(() => {
      stopping.abort();
      return sweeping;
    });
    return server;
  });
}
