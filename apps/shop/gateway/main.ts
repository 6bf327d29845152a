import type { Logger } from "pino";
import { createAuthenticator } from "../chassis/auth.ts";
import { openBroker } from "../chassis/broker.ts";
import { connectRedis } from "../chassis/broker-redis.ts";
import { brokerOf } from "../chassis/config.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { startService } from "../chassis/start-service.ts";
import { registerDemoRoutes } from "./demo-routes.ts";
import { registerOrderRoutes } from "./order-routes.ts";
import { backendReadiness, connectBackends } from "./peers.ts";
import { createProductCache } from "./product-cache.ts";
import type { ProductCache } from "./product-cache.ts";
import { registerProductRoutes } from "./product-routes.ts";
import { limitRates } from "./rate-limit.ts";
import { registerReconciliationRoutes } from "./reconciliation-routes.ts";
import { registerReturnRoutes } from "./return-routes.ts";
import { createSharedProductCache } from "./shared-product-cache.ts";
import { watchStock } from "./stock-watch.ts";

/** Starts the public API: it checks tokens, limits and bodies, and asks the owners behind it. */
export function startGateway(config: ServiceConfig): Promise<RunningService> {
  return startService(config, async (resources) => {
    const logger = createLogger({ service: config.name, level: config.logLevel });
    const backends = connectBackends(config, resources);
    const server = await createHttpServer({
      service: config.name,
      description: "The public API of the reference shop.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "users",
      readiness: backendReadiness(backends),
      instruments: config.instruments,
    });
    const { app } = server;
    // In demo mode one person plays all customers at once, so limits are asked for by name.
    if (config.rateLimit || !config.demo) limitRates(app);

    const products = openProductCache(config, logger, resources);
    const broker = openBroker({
      config: brokerOf(config),
      service: config.name,
      logger,
      resources,
    });
    resources.defer(watchStock({ broker, logger, onChanged: (id) => products.invalidate(id) }));
    registerProductRoutes(app, backends.inventory, products);
    registerOrderRoutes(app, backends.order);
    registerReturnRoutes(app, backends.order);
    registerReconciliationRoutes(app, backends.order);
    if (config.demo && config.auth.kind === "demo") registerDemoRoutes(app, config.auth);
    return server;
  });
}

/** In Redis where the shop has one, so that all gateways forget together; else in this process. */
function openProductCache(
  config: ServiceConfig,
  logger: Logger,
  resources: AsyncDisposableStack,
): ProductCache {
  const broker = brokerOf(config);
  if (broker.kind !== "redis") return createProductCache();
  const { url, prefix } = broker;
  const client = connectRedis({ url, service: config.name, logger, resources });
  return createSharedProductCache({ client, prefix, logger });
}
