import { backoffMs } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { ServiceTransaction } from "../core/service-transaction.ts";
import { createTrouble } from "../core/trouble.ts";
import { FlowOverdue } from "./flow-alert.ts";
import { SagaClosed } from "./saga-alert.ts";
import type { FlowStore } from "./flow-store.ts";

/** What the watch needs. */
export interface FlowWatchParts {
  readonly service: string;
  readonly store: FlowStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How often it looks, in milliseconds. */
  readonly watchMs: number;
  /** After how many milliseconds the start of a flow is not waited for any more. */
  readonly earlyMs: number;
  /** Runs the work in a transaction of the service. */
  readonly transaction: <Result>(
    work: (tx: ServiceTransaction) => Promise<Result>,
  ) => Promise<Result>;
}

const batchSizeMax = 200;
const forgetEveryMs = 3_600_000;
const forgetSizeMax = 5_000;

/**
 * Looks until the signal aborts for flows that wait too long, and says of each wait once for which service: in
 * the log, and as {@link FlowOverdue}, which commits with the note that it was said; the answer may still come.
 * And ends flows that an operator has resolved, with {@link SagaClosed}. Several processes may watch. Never
 * rejects.
 */
export async function watchFlows(parts: FlowWatchParts, signal: AbortSignal): Promise<void> {
  const { clock, logger, service, watchMs } = parts;
  const trouble = createTrouble({
    clock,
    settleMs: 5_000,
    say: (error) =>
      logger.warn("the watch over flows cannot look now, and tries again", {
        service,
        error: describeError(error),
      }),
    sayOver: () => logger.info("the watch over flows looks again", { service }),
  });
  let failures = 0;
  let forgottenAt = -Infinity;
  while (!signal.aborted) {
    let pauseMs = watchMs;
    try {
      while (!signal.aborted && (await resolveAsked(parts)) === batchSizeMax);
      while (!signal.aborted && (await reportOverdue(parts)) > 0);
      if (clock.monotonic() - forgottenAt >= forgetEveryMs) {
        while (!signal.aborted && (await forgetSome(parts)) === forgetSizeMax);
        forgottenAt = clock.monotonic();
      }
      failures = 0;
      trouble.succeeded();
    } catch (error) {
      failures += 1;
      if (!signal.aborted) trouble.failed(error);
      pauseMs += backoffMs(failures, { baseMs: 50, maxMs: 5_000 }, clock);
    }
    await clock.sleep(pauseMs, signal);
  }
}

function forgetSome({ store, transaction, earlyMs }: FlowWatchParts): Promise<number> {
  return transaction((tx) => store.forgetEarly(tx, earlyMs, forgetSizeMax));
}

async function resolveAsked({ store, transaction, logger }: FlowWatchParts): Promise<number> {
  const resolved = await transaction(async (tx) => {
    const found = await store.resolve(tx, batchSizeMax);
    for (const data of found) tx.emit(SagaClosed, data);
    return found;
  });
  for (const { sagaId, definition, status, actor } of resolved) {
    logger.info("flow was ended by hand", { sagaId, definition, status, actor });
  }
  return resolved.length;
}

async function reportOverdue({ store, transaction, logger }: FlowWatchParts): Promise<number> {
  const overdue = await transaction(async (tx) => {
    const found = await store.noteOverdue(tx, batchSizeMax);
    for (const data of found) tx.emit(FlowOverdue, data);
    return found;
  });
  for (const { waitingFor, ...facts } of overdue) {
    const services = waitingFor.join(", ");
    logger.warn(`flow waits too long for ${services}`, { ...facts, waitingFor: services });
  }
  return overdue.length;
}
