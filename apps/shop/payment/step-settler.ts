import { backoffMs } from "dure";
import type { Clock, Permit, RetryPolicy } from "dure";
import type { Logger } from "pino";
import { createClaimWorker } from "../chassis/claim-worker.ts";
import type { ClaimWorker } from "../chassis/claim-worker.ts";
import type { ProviderClient } from "./provider-client.ts";
import type { ProviderPermits } from "./provider-permits.ts";
import type { StepOperation } from "./step-operation.ts";
import type { StepRecord } from "./step-record.ts";
import type { PaymentFaults } from "./worker.ts";

/** What operations are settled with. */
export interface StepSettlerOptions {
  readonly record: StepRecord;
  readonly provider: ProviderClient;
  readonly permits: ProviderPermits;
  readonly retry: Pick<RetryPolicy, "baseMs" | "maxMs">;
  /** How long an operation is one instance's to ask about by itself. */
  readonly claimMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly faults: PaymentFaults;
}

/** Asks the provider what becomes of operations, and records it. */
export interface StepSettler {
  /**
   * Asks once, outside any transaction, and records the outcome; the operation as it is then, still
   * PENDING when the provider did not settle it. Several may ask at the same time, because all ask by
   * the same key: the first to record wins, and the others read what it recorded.
   */
  settle(operation: StepOperation, permit: Permit): Promise<StepOperation>;
  /** Leaves an operation to the worker, at once. */
  leave(operation: StepOperation): Promise<void>;
  /** Settles what nobody asks about: its request died, or found no permit, or gave up. */
  readonly worker: ClaimWorker;
}

const workersMax = 4;

/** A settler for this process; any number of processes may share the operations. */
export function createStepSettler(options: StepSettlerOptions): StepSettler {
  const { record, provider, permits, retry, claimMs, clock, logger, faults } = options;

  async function settle(operation: StepOperation, permit: Permit): Promise<StepOperation> {
    const { orderId, sagaId, kind, key, attempts } = operation;
    await faults.beforeProvider?.({ orderId, key });
    const outcome = await provider.performStep(operation, permit.signal);
    await permit.release();
    await faults.afterProvider?.({ orderId, key });
    const settled = await record.settle(operation, outcome);
    const facts = { orderId, sagaId, kind, key, attempts, outcome: outcome.kind };
    logger.info({ ...facts, state: settled.state }, "provider asked for a step");
    if (settled.state === "PENDING") {
      await record.postpone([key], backoffMs(attempts + 1, retry, clock));
    }
    return settled;
  }

  const worker = createClaimWorker<StepOperation>({
    concurrency: workersMax,
    claim: (limit) => record.claim(limit, claimMs),
    async work(operation) {
      await using permit = await permits.take();
      if (permit === undefined) await record.postpone([operation.key], retry.maxMs);
      else await settle(operation, permit);
    },
    renew: (operations) =>
      record.postpone(
        operations.map(({ key }) => key),
        claimMs,
      ),
    renewEveryMs: claimMs / 3,
    clock,
    logger,
  });

  return {
    settle,
    async leave({ key }) {
      await record.postpone([key], 0);
      worker.wake();
    },
    worker,
  };
}
