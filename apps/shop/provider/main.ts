import { systemClock } from "dure";
import type { Clock } from "dure";
import { ulid } from "ulid";
import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { migrate } from "../chassis/migrate.ts";
import { startService } from "../chassis/start-service.ts";
import { createAdmission } from "./admission.ts";
import { registerDemoRoutes } from "./demo-routes.ts";
import { createFaultInjector } from "./faults.ts";
import { createOperations } from "./operations.ts";
import { registerOperationRoutes } from "./routes.ts";
import { createWeather } from "./weather.ts";

/** How many requests the provider takes at once; the payment service keeps to it. */
const requestsMax = 10;

/** Starts the fake payment provider with its own ledger: the outside truth about money. */
export function startProvider(
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
      description: "A fake payment provider. Its ledger is what really happened to the money.",
      logger,
      authenticator: createAuthenticator(config.auth),
      callers: "services",
      readiness: [databaseReadiness(pool)],
      instruments,
    });
    const stopping = new AbortController();
    server.app.addHook("preClose", async () => stopping.abort());

    const faults = createFaultInjector(clock);
    const admission = createAdmission(requestsMax);
    const weather = createWeather({
      admission,
      faults,
      clock,
      stopping: stopping.signal,
    });
    const operations = createOperations(pool, () => `TX-${ulid()}`);
    registerOperationRoutes(server.app, operations, weather);
    if (config.demo) registerDemoRoutes(server.app, { pool, faults, admission });
    return server;
  });
}
