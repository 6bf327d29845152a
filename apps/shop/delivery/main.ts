import { systemClock } from "dure";
import type { Clock } from "dure";
import { Gauge } from "prom-client";
import { createAuthenticator } from "../chassis/auth.ts";
import { createClaimWorker } from "../chassis/claim-worker.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { createMessaging, exposeMessagingMetrics } from "../chassis/messaging.ts";
import { migrate } from "../chassis/migrate.ts";
import { registerParticipantFaultsRoute } from "../chassis/participant-faults-route.ts";
import { createParticipantFaultInjector } from "../chassis/participant-faults.ts";
import { startService } from "../chassis/start-service.ts";
import { shopEvents } from "../contracts/events.ts";
import { createFakeCarrier } from "./carrier.ts";
import { createDeliveryDesk, renewEveryMs } from "./deliveries.ts";
import { registerHandlers } from "./handlers.ts";
import { countPendingDeliveries } from "./reports.ts";
import { registerInternalRoutes } from "./routes.ts";
import { registerStepRoutes } from "./step-routes.ts";
import { createDeliverySteps } from "./steps.ts";

/** How many parcels are booked at the same time. */
const bookingsMax = 16;

/** Starts the service that hands paid and reserved orders to a (fake) carrier. */
export function startDelivery(
  config: ServiceConfig,
  clock: Clock = systemClock,
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax, instruments } = config;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger, instruments });
    resources.defer(() => pool.end());
    await migrate(pool, new URL("migrations/", import.meta.url));

    const server = await createHttpServer({
      service: name,
      description: "Deliveries, and a fake carrier that takes them.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
      instruments,
    });
    const dure = await createMessaging({ config, pool, contracts: shopEvents, logger, resources });
    const faults = createParticipantFaultInjector(clock);
    const carrier = createFakeCarrier(pool, faults, clock);
    const desk = createDeliveryDesk({ pool, dure, carrier, clock });
    const worker = createClaimWorker({
      ...desk,
      concurrency: bookingsMax,
      renewEveryMs,
      clock,
      logger,
    });
    registerHandlers(dure, () => worker.wake());
    registerInternalRoutes(server.app, pool);
    registerStepRoutes(server.app, createDeliverySteps({ pool, dure, desk }));
    if (config.demo) registerParticipantFaultsRoute(server.app, faults);
    exposeMessagingMetrics(dure, server.metrics);
    new Gauge({
      name: "delivery_pending_deliveries",
      help: "Deliveries that the carrier has not answered yet",
      registers: [server.metrics],
      async collect() {
        this.set(await countPendingDeliveries(pool));
      },
    });
    await dure.start();
    worker.start();
    resources.defer(() => worker.stop());
    return server;
  });
}
