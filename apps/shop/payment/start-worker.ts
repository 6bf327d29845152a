import { systemClock } from "dure";
import type { Pool } from "pg";
import type { Logger } from "pino";
import type { ServiceConfig } from "../chassis/config.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import { createPaymentRecord } from "./payment-record.ts";
import { createProviderClient } from "./provider-client.ts";
import { PaymentWorker } from "./worker.ts";
import type { PaymentFaults, WorkerSettings } from "./worker.ts";

/** What may be set otherwise; the defaults are for production. */
export interface PaymentOptions extends Partial<WorkerSettings> {
  /** For one request to the provider with its answer. @defaultValue 5000 */
  readonly providerTimeoutMs?: number;
  readonly faults?: PaymentFaults;
}

/** What a running worker is made of. */
export interface WorkerSurroundings {
  readonly config: ServiceConfig;
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly logger: Logger;
  /** Stops the worker before what was opened earlier. */
  readonly resources: AsyncDisposableStack;
  readonly options: PaymentOptions;
}

/** The provider takes 10 requests at once; two are left for others. */
const defaults: WorkerSettings = {
  giveUpAfterMs: 600_000,
  inFlightMax: 8,
  claimMs: 15_000,
  retry: { baseMs: 100, maxMs: 5_000 },
};

/**
 * Starts to bring due payments to their end. The worker stops first of all: what it has under way
 * still finds the provider, the outbox and the pool.
 */
export function startWorker(surroundings: WorkerSurroundings): PaymentWorker {
  const { config, pool, dure, logger, resources, options } = surroundings;
  const { providerTimeoutMs: timeoutMs = 5_000, faults = {}, ...given } = options;
  const settings = { ...defaults, ...given };
  const connectionsMax = settings.inFlightMax;
  const provider = createProviderClient({ config, timeoutMs, connectionsMax });
  resources.defer(() => provider.close());
  const record = createPaymentRecord(pool, dure);
  const worker = new PaymentWorker({
    record,
    provider,
    settings,
    clock: systemClock,
    logger,
    faults,
  });
  const stopping = new AbortController();
  const running = worker.run(stopping.signal);
  resources.defer(() => {
    stopping.abort();
    return running;
  });
  return worker;
}
