import type { Clock } from "../core/clock.ts";
import { describeError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";

/** What the loop is made of. */
export interface MaintenanceLoopParts {
  /** What needs care about every hour; each is cared for though another fails. */
  readonly tasks: readonly ((signal: AbortSignal) => Promise<void>)[];
  readonly clock: Clock;
  readonly logger: Logger;
}

const intervalMs = 3_600_000;
const retryMs = 30_000;

/** Cares until the signal aborts. A failure is said once, and tried again soon. Never rejects. */
export async function runMaintenance(
  { tasks, clock, logger }: MaintenanceLoopParts,
  signal: AbortSignal,
): Promise<void> {
  let isWarned = false;
  while (!signal.aborted) {
    const outcomes = await Promise.allSettled(tasks.map(async (care) => care(signal)));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined && !isWarned && !signal.aborted) {
      logger.warn("maintenance failed and is tried again", { error: describeError(failed.reason) });
    }
    isWarned = failed !== undefined;
    await clock.sleep(isWarned ? retryMs : intervalMs, signal);
  }
}
