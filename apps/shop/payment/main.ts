import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { createMessaging, exposeMessagingMetrics } from "../chassis/messaging.ts";
import { migrate } from "../chassis/migrate.ts";
import { exposePeerMetrics } from "../chassis/peer-metrics.ts";
import { exposeSemaphoreMetrics } from "../chassis/semaphore-metrics.ts";
import { startService } from "../chassis/start-service.ts";
import { shopEvents } from "../contracts/events.ts";
import { registerHandlers } from "./handlers.ts";
import { registerRoutes } from "./routes.ts";
import { startProviderSide } from "./start-provider-side.ts";
import type { PaymentOptions } from "./start-provider-side.ts";
import { registerStepRoutes } from "./step-routes.ts";
import { exposeWaitingPayments } from "./waiting-metric.ts";

/**
 * Starts payment: it charges and refunds by events, through the provider. Several instances may share
 * a database. What is under way when the process dies is in the database, and goes on after a start.
 */
export function startPayment(
  config: ServiceConfig,
  options: PaymentOptions = {},
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax, instruments } = config;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger, instruments });
    resources.defer(() => pool.end());
    await migrate(pool, new URL("migrations/", import.meta.url));
    const dure = await createMessaging({ config, pool, contracts: shopEvents, logger, resources });

    const server = await createHttpServer({
      service: name,
      description:
        "Payments of the shop: charges and refunds, each with one effect at the provider.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
      instruments,
    });
    exposeMessagingMetrics(dure, server.metrics);
    exposeSemaphoreMetrics(dure, server.metrics);
    exposeWaitingPayments(pool, server.metrics);
    registerRoutes(server.app, pool);

    const side = { config, pool, dure, logger, resources, options };
    const { worker, steps, provider } = startProviderSide(side);
    exposePeerMetrics([provider], server.metrics);
    registerStepRoutes(server.app, steps);
    registerHandlers(dure, () => worker.wake());
    await dure.start();
    return server;
  });
}
