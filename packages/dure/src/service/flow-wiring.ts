import type { Clock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import { flowHandlers } from "../saga/flow-tracking.ts";
import type { FlowHandler } from "../saga/flow-tracking.ts";
import { watchFlows } from "../saga/flow-watch.ts";
import type { SagaOutcomes } from "../saga/saga-outcomes.ts";
import type { DureOptions } from "./service-options.ts";

/** What wiring needs of the service. */
interface WiringParts<Client> {
  readonly options: DureOptions<Client>;
  readonly watchMs: number;
  /** Those who wait for ends, where no engine tells them that it stops. */
  readonly outcomes: SagaOutcomes | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Runs the work in a transaction of the service. */
  readonly run: <Result>(
    work: (tx: ServiceTransaction<Client>) => Promise<Result>,
  ) => Promise<Result>;
}

/** The handlers of the flows that a service follows, and their watch; neither where it follows none. */
export function wireFlows<Client>(parts: WiringParts<Client>): {
  readonly handlers: readonly FlowHandler[];
  readonly watch: ((signal: AbortSignal) => Promise<void>) | undefined;
} {
  const { options, watchMs, outcomes, clock, logger, run } = parts;
  const { service, store, sagas: { definitions = [], flows = [] } = {} } = options;
  if (flows.length === 0) return { handlers: [], watch: undefined };
  for (const { name } of flows) {
    if (!definitions.some((definition) => definition.name === name)) continue;
    throw new DureError("CONFIGURATION_INVALID", `sagas: "${name}" is a flow and a saga`);
  }
  const handlers = flowHandlers({ flows, store: store.flows, logger });
  const watching = {
    service,
    store: store.flows,
    clock,
    logger,
    watchMs,
    // A copy that came later would not be known as one either.
    earlyMs: store.retention?.inboxMs ?? 30 * 86_400_000,
    transaction: run,
  };
  return {
    handlers,
    async watch(signal) {
      await watchFlows(watching, signal);
      const reason = `flows of "${service}" are not followed any more`;
      outcomes?.stop(new DureError("STOPPED", reason));
    },
  };
}
