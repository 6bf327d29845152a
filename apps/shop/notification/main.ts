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
import { createFakeChannels } from "./channels.ts";
import type { SendChannels } from "./channels.ts";
import { registerHandlers } from "./handlers.ts";
import { createOutgoing, renewEveryMs } from "./outgoing.ts";
import { countUnsent } from "./reports.ts";
import { registerInternalRoutes } from "./routes.ts";

/** How many notifications are sent at the same time. */
const sendingsMax = 16;

/** Starts the service that tells customers what became of their orders. */
export function startNotification(
  config: ServiceConfig,
  clock: Clock = systemClock,
  channels: Partial<SendChannels> = {},
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax, instruments } = config;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger, instruments });
    resources.defer(() => pool.end());
    await migrate(pool, new URL("migrations/", import.meta.url));

    const server = await createHttpServer({
      service: name,
      description: "Fake SMS and e-mail, and what was sent to whom.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
      instruments,
    });
    const dure = await createMessaging({ config, pool, contracts: shopEvents, logger, resources });
    const faults = createParticipantFaultInjector(clock);
    const fakes = createFakeChannels({ faults, clock, logger });
    const outgoing = createOutgoing(pool, { ...fakes, ...channels }, clock);
    const limits = { concurrency: sendingsMax, renewEveryMs };
    const worker = createClaimWorker({ ...outgoing, ...limits, clock, logger });
    registerHandlers(dure, () => worker.wake());
    registerInternalRoutes(server.app, pool);
    if (config.demo) registerParticipantFaultsRoute(server.app, faults);
    exposeMessagingMetrics(dure, server.metrics);
    new Gauge({
      name: "notification_unsent_notifications",
      help: "Notifications that wait (PENDING) or were given up (DEAD)",
      labelNames: ["status"],
      registers: [server.metrics],
      async collect() {
        const counts = await countUnsent(pool);
        this.set({ status: "PENDING" }, counts.PENDING);
        this.set({ status: "DEAD" }, counts.DEAD);
      },
    });
    await dure.start();
    worker.start();
    resources.defer(() => worker.stop());
    return server;
  });
}
