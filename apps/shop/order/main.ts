import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { createMessaging, exposeMessagingMetrics } from "../chassis/messaging.ts";
import { migrate } from "../chassis/migrate.ts";
import { exposePeerMetrics } from "../chassis/peer-metrics.ts";
import { startService } from "../chassis/start-service.ts";
import { shopEvents } from "../contracts/events.ts";
import { registerCancelRoute } from "./cancel-route.ts";
import { choreographedCheckout } from "./checkout-flow.ts";
import { registerHandlers } from "./handlers.ts";
import { createOrderSagas } from "./order-sagas.ts";
import { exposeOverdue } from "./overdue-checkouts.ts";
import { connectPeers } from "./peers.ts";
import { registerReportRoutes } from "./report-routes.ts";
import { registerReturnRoutes } from "./return-routes.ts";
import { registerOrderRoutes } from "./routes.ts";
import { registerSagaAlerts } from "./saga-alerts.ts";
import { createParticipantCaller } from "./step-calls.ts";

/** How patient the service is. */
export interface OrderTiming {
  /** How long one service may take in a choreographed checkout before that is reported. @defaultValue 60000 */
  readonly deadlineMs?: number;
  /** How often that is looked for. @defaultValue 5000 */
  readonly watchEveryMs?: number;
}

/** Sagas at a time: each may have a call under way, and a connection for a moment now and then. */
const sagasMax = 256;

/** Starts the order service: orders, their history, and the checkout that moves them. */
export function startOrder(
  config: ServiceConfig,
  { deadlineMs = 60_000, watchEveryMs = 5000 }: OrderTiming = {},
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax, instruments } = config;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger, instruments });
    resources.defer(() => pool.end());
    await migrate(pool, new URL("migrations/", import.meta.url));
    const peers = connectPeers(config, resources);
    const ask = createParticipantCaller(peers);
    const sagas = createOrderSagas({ pool, ask, dure: () => dure });
    const dure = await createMessaging({
      config,
      pool,
      contracts: shopEvents,
      sagas: {
        definitions: sagas.definitions,
        flows: [choreographedCheckout(deadlineMs)],
        flowWatchMs: watchEveryMs,
        concurrency: sagasMax,
      },
      logger,
      resources,
    });
    const following = { logger, onCompleted: sagas.undoIfCanceled };
    registerHandlers(dure, following);
    registerSagaAlerts(dure, following);

    const server = await createHttpServer({
      service: name,
      description: "Orders, and the checkout that moves them.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
      instruments,
    });
    exposeMessagingMetrics(dure, server.metrics);
    exposePeerMetrics(Object.values(peers), server.metrics);
    exposeOverdue(pool, server.metrics);
    const stopping = new AbortController();
    server.app.addHook("preClose", async () => stopping.abort());
    registerOrderRoutes(server.app, pool, { dure, sagas });
    registerCancelRoute(server.app, { dure, sagas });
    registerReturnRoutes(server.app, { pool, dure, sagas });
    registerReportRoutes(server.app, { pool, peers, stopping: stopping.signal });

    await dure.start();
    return server;
  });
}
