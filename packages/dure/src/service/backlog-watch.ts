import type { AdminStore } from "../admin/admin-store.ts";
import { createAlerts } from "../core/alerts.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";

/** When an event that is not published is worth a word. */
export interface BacklogLimits {
  /** An event that waits for longer is warned of. @defaultValue 5 minutes */
  readonly warningMs?: number;
  /** An event that waits for longer is an alert. @defaultValue 1 hour */
  readonly alertMs?: number;
}

/** What the watch is made of. */
export interface BacklogWatchParts {
  readonly service: string;
  readonly admin: AdminStore;
  readonly limits: Required<BacklogLimits>;
  readonly clock: Clock;
  readonly logger: Logger;
}

const intervalMsMax = 60_000;

/**
 * Says once that an event has been waiting for too long, and again only after it was over. A pause by an
 * operator is warned of like any other reason. Never rejects: a database that is away is said by others.
 */
export async function watchBacklog(parts: BacklogWatchParts, signal: AbortSignal): Promise<void> {
  const { service, admin, limits, clock, logger } = parts;
  const alerts = createAlerts(logger);
  const intervalMs = Math.min(intervalMsMax, limits.warningMs);
  while (!signal.aborted) {
    const oldest = await admin.oldestPending().catch(() => "unknown" as const);
    if (oldest !== "unknown") {
      const ageMs = oldest === undefined ? 0 : oldest.seconds * 1_000;
      const facts = oldest && { service, ...oldest, seconds: Math.round(oldest.seconds) };
      alerts.warnWhile(
        ageMs >= limits.warningMs,
        "an event has been waiting for long to be published",
        facts,
      );
      alerts.errorWhile(
        ageMs >= limits.alertMs,
        "EVENT_STUCK: an event has been waiting for too long to be published: is a relay running, is it paused, does the transport answer? See dure relay status",
        facts,
      );
    }
    await clock.sleep(intervalMs, signal);
  }
}
