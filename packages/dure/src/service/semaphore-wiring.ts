import { createSemaphoreControl } from "../admin/semaphore-control.ts";
import type { SemaphoreControl } from "../admin/semaphore-control.ts";
import { systemClock } from "../core/clock.ts";
import { silentLogger } from "../core/logger.ts";
import type { SemaphoreSettings } from "../semaphore/semaphore-membership.ts";
import { createSemaphores } from "../semaphore/semaphores.ts";
import type { Semaphores } from "../semaphore/semaphores.ts";
import type { DureOptions } from "./service-options.ts";

/** The semaphores of a service with the operator's levers, and how they are closed. */
export function wireSemaphores<Client>(
  options: DureOptions<Client>,
  settings: SemaphoreSettings,
): readonly [Semaphores & SemaphoreControl, () => Promise<void>] {
  const semaphores = createSemaphores({
    store: options.store.semaphores,
    process: `${options.service}/${process.pid}`,
    settings,
    clock: options.clock ?? systemClock,
    logger: options.logger ?? silentLogger,
  });
  const control = createSemaphoreControl(options.store.admin.semaphores);
  return [
    {
      ...control,
      withPermit: (name, permitOptions, work) => semaphores.withPermit(name, permitOptions, work),
      acquire: (name, permitOptions) => semaphores.acquire(name, permitOptions),
      counts: () => semaphores.counts(),
    },
    () => semaphores.close(),
  ];
}
