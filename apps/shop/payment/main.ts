import { systemClock } from "dure";
import { createAuthenticator } from "../chassis/auth.ts";
import type { RunningService, ServiceConfig } from "../chassis/config.ts";
import { createDatabasePool, databaseReadiness } from "../chassis/database.ts";
import { createHttpServer } from "../chassis/http-server.ts";
import { createLogger } from "../chassis/logger.ts";
import { createMessaging, exposeMessagingMetrics } from "../chassis/messaging.ts";
import { migrate } from "../chassis/migrate.ts";
import { startService } from "../chassis/start-service.ts";
import { shopEvents } from "../contracts/events.ts";
import { registerHandlers } from "./handlers.ts";
import { createPaymentRecord } from "./payment-record.ts";
import { createProviderClient } from "./provider-client.ts";
import { registerRoutes } from "./routes.ts";
import { exposeWaitingPayments } from "./waiting-metric.ts";
import { PaymentWorker } from "./worker.ts";
import type { PaymentFaults, WorkerSettings } from "./worker.ts";

/** What a test may want otherwise. */
export interface PaymentOptions extends Partial<WorkerSettings> {
  /** For one request to the provider with its answer. @defaultValue 5000 */
  readonly providerTimeoutMs?: number;
  readonly faults?: PaymentFaults;
}

/** The provider takes 10 requests at once; two are left for others. */
const defaults: WorkerSettings = {
  giveUpAfterMs: 600_000,
  inFlightMax: 8,
  claimMs: 15_000,
  retry: { baseMs: 100, maxMs: 5_000 },
};

/** Starts payment: charges and refunds by events, through the provider. Several instances may share a database. */
export function startPayment(
  config: ServiceConfig,
  options: PaymentOptions = {},
): Promise<RunningService> {
  return startService(config, async (resources) => {
    const { name, databaseUrl: url, poolMax } = config;
    const { providerTimeoutMs = 5_000, faults = {}, ...settings } = options;
    const logger = createLogger({ service: name, level: config.logLevel });
    const pool = createDatabasePool({ url, service: name, poolMax, logger });
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
    });
    exposeMessagingMetrics(dure, server.metrics);
    exposeWaitingPayments(pool, server.metrics);
    registerRoutes(server.app, pool);

    const worker = new PaymentWorker({
      record: createPaymentRecord(pool, dure),
      provider: connectProvider(config, providerTimeoutMs, resources),
      settings: { ...defaults, ...settings },
      clock: systemClock,
      logger,
      faults,
    });
    registerHandlers(dure, () => worker.wake());
    await dure.start();
    runUntilStopped(worker, resources);
    return server;
  });
}

function connectProvider(
  config: ServiceConfig,
  timeoutMs: number,
  resources: AsyncDisposableStack,
): ReturnType<typeof createProviderClient> {
  const provider = createProviderClient({
    config,
    timeoutMs,
    connectionsMax: defaults.inFlightMax,
  });
  resources.defer(() => provider.close());
  return provider;
}

/** The worker stops first: what it has under way still finds the provider, the outbox and the pool. */
function runUntilStopped(worker: PaymentWorker, resources: AsyncDisposableStack): void {
  const stopping = new AbortController();
  const running = worker.run(stopping.signal);
  resources.defer(() => {
    stopping.abort();
    return running;
  });
}
