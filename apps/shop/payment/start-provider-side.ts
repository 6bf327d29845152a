import { systemClock } from "dure";
import type { Pool } from "pg";
import type { Logger } from "pino";
import type { ServiceConfig } from "../chassis/config.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import { createPaymentRecord } from "./payment-record.ts";
import { createProviderPermits } from "./provider-permits.ts";
import type { ProviderPermits } from "./provider-permits.ts";
import { createProviderClient } from "./provider-client.ts";
import type { ProviderClient } from "./provider-client.ts";
import { createStepRecord } from "./step-record.ts";
import { createStepSettler } from "./step-settler.ts";
import { createPaymentSteps } from "./steps.ts";
import type { PaymentSteps } from "./steps.ts";
import { PaymentWorker } from "./worker.ts";
import type { PaidProvider, PaymentFaults, WorkerSettings } from "./worker.ts";

/** What may be set otherwise; the defaults are for production. */
export interface PaymentOptions extends Partial<WorkerSettings> {
  /** For one request to the provider with its answer. @defaultValue 5000 */
  readonly providerTimeoutMs?: number;
  /** How long the provider is left alone when it fails too often. @defaultValue 30000 */
  readonly breakerOpenMs?: number;
  /** Requests to the provider at once, of both checkouts and of all instances. @defaultValue 10 */
  readonly permitsMax?: number;
  /** Requests that may wait in line for a permit, of all instances. @defaultValue 200 */
  readonly permitsWaitingMax?: number;
  /** How long each of them waits. @defaultValue 5000 */
  readonly permitWaitMs?: number;
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

/** Everything of the service that asks the provider. */
export interface ProviderSide {
  /** Of the choreographed checkout. */
  readonly worker: PaymentWorker;
  /** Of the orchestrated one. */
  readonly steps: PaymentSteps;
  readonly provider: Pick<ProviderClient, "peer" | "standing">;
}

/** Two of the provider's permits are always left to steps, of one process. */
const defaults: WorkerSettings = {
  giveUpAfterMs: 600_000,
  inFlightMax: 8,
  claimMs: 15_000,
  retry: { baseMs: 100, maxMs: 5_000 },
};

/**
 * Starts to bring due payments to their end, of both checkouts and with the provider's places shared
 * between them. The workers stop first of all: what they have under way still finds the provider, the
 * outbox and the pool.
 */
export function startProviderSide(surroundings: WorkerSurroundings): ProviderSide {
  const { config, pool, dure, logger, resources, options } = surroundings;
  const {
    providerTimeoutMs: timeoutMs = 5_000,
    breakerOpenMs,
    permitsMax = 10,
    permitsWaitingMax: lineMax = 200,
    permitWaitMs: waitMs = 5_000,
    faults = {},
    ...given
  } = options;
  const settings = { ...defaults, ...given };
  const clock = systemClock;
  const { semaphores } = dure;
  const permits = createProviderPermits({ semaphores, permits: permitsMax, lineMax, waitMs });
  const provider = createProviderClient({
    config,
    timeoutMs,
    connectionsMax: permitsMax,
    ...(breakerOpenMs !== undefined && { breakerOpenMs }),
  });
  resources.defer(() => provider.close());

  const worker = new PaymentWorker({
    record: createPaymentRecord(pool, dure),
    provider: withPermits(provider, permits),
    settings,
    clock,
    logger,
    faults,
  });
  const stopping = new AbortController();
  const running = worker.run(stopping.signal);
  resources.defer(() => {
    stopping.abort();
    return running;
  });

  const record = createStepRecord(pool, dure);
  const { retry, claimMs } = settings;
  const asking = { record, provider, permits, retry, claimMs, clock, logger, faults };
  const settler = createStepSettler(asking);
  settler.worker.start();
  resources.defer(() => settler.worker.stop());
  const steps = createPaymentSteps({ dure, record, settler, permits });
  return { worker, steps, provider };
}

/** A payment that finds no permit is asked about later, like one that the provider did not take. */
function withPermits(provider: ProviderClient, permits: ProviderPermits): PaidProvider {
  return {
    async perform(payment) {
      await using permit = await permits.take();
      if (permit === undefined) return { kind: "unknown", code: "PROVIDER_THROTTLED" };
      return await provider.perform(payment, permit.signal);
    },
  };
}
