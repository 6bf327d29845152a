import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { createMessaging, exposeMessagingMetrics } from "../chassis/messaging.ts";
import { migrate } from "../chassis/migrate.ts";
import { startService } from "../chassis/start-service.ts";
import { shopEvents } from "../contracts/events.ts";
import { exposeOverdue, watchDeadlines } from "./deadline-watch.ts";
import { registerHandlers } from "./handlers.ts";
import { connectPeers } from "./peers.ts";
import { registerReportRoutes } from "./report-routes.ts";
import { registerReturnRoutes } from "./return-routes.ts";
import { registerOrderRoutes } from "./routes.ts";

/** How patient the service is. */
export interface OrderTiming {
  /** How long a checkout may go without progress before it is reported. @defaultValue 60000 */
  readonly deadlineMs?: number;
  /** How often that is looked for. @defaultValue 5000 */
  readonly watchEveryMs?: number;
}

/** Starts the order service: orders, their history, and the checkout that moves them. */
export function startOrder(
  config: ServiceConfig,
  { deadlineMs = 60_000, watchEveryMs = 5000 }: OrderTiming = {},
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax } = config;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger });
    resources.defer(() => pool.end());
    await migrate(pool, new URL("migrations/", import.meta.url));
    const dure = await createMessaging({ config, pool, contracts: shopEvents, logger, resources });
    registerHandlers(dure, { deadlineMs, logger });
    const peers = connectPeers(config, resources);

    const server = await createHttpServer({
      service: name,
      description: "Orders, and the checkout that moves them.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
    });
    exposeMessagingMetrics(dure, server.metrics);
    exposeOverdue(pool, server.metrics);
    const stopping = new AbortController();
    server.app.addHook("preClose", async () => stopping.abort());
    registerOrderRoutes(server.app, pool, { dure, deadlineMs });
    registerReturnRoutes(server.app);
    registerReportRoutes(server.app, { pool, peers, stopping: stopping.signal });

    await dure.start();
    const watching = new AbortController();
    const watch = watchDeadlines({ pool, logger, everyMs: watchEveryMs }, watching.signal);
    resources.defer(async () => {
      watching.abort();
      await watch;
    });
    return server;
  });
}
