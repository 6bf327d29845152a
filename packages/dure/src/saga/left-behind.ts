import { createAlerts } from "../core/alerts.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import type { SagaPlan } from "./saga-decision.ts";
import { planKey } from "./saga-plans.ts";
import type { SagaStore } from "./saga-store.ts";

const everyMs = 60_000;

/**
 * Looks, at most once a minute, for sagas that have been due for a minute and that no process takes because
 * none knows their definition's version; says so once for as long as it lasts.
 */
export function createLeftBehindWatch(parts: {
  readonly store: Pick<SagaStore, "leftBehind">;
  readonly plans: ReadonlyMap<string, SagaPlan>;
  readonly clock: Clock;
  readonly logger: Logger;
}): () => Promise<void> {
  const { store, plans, clock, logger } = parts;
  const alerts = createAlerts(logger);
  let lookedAt = -Infinity;
  let said: ReadonlySet<string> = new Set();
  const messageOf = (key: string): string =>
    `sagas of ${key} stand still: no process knows this version; start one that does, and see dure sagas check`;
  return async () => {
    if (clock.monotonic() - lookedAt < everyMs) return;
    lookedAt = clock.monotonic();
    const found = new Map<string, number>();
    for (const { definition, version, count } of await store.leftBehind()) {
      const key = planKey(definition, version);
      // What this process knows waits for room.
      if (!plans.has(key)) found.set(key, count);
    }
    for (const [key, count] of found) alerts.errorWhile(true, messageOf(key), { count });
    for (const key of said) if (!found.has(key)) alerts.errorWhile(false, messageOf(key));
    said = new Set(found.keys());
  };
}
