import { isSemaphoreBusy } from "dure";
import type { Permit, Semaphores } from "dure";

/** Leave to ask the provider, over all payment processes: no more at once than it takes. */
export interface ProviderPermits {
  /**
   * The next free permit, first come first served. Undefined: the line is full, or none came free in time,
   * and nothing was begun.
   */
  take(): Promise<Permit | undefined>;
}

/** What {@link createProviderPermits} takes. */
export interface ProviderPermitOptions {
  readonly semaphores: Semaphores;
  readonly permits: number;
  readonly lineMax: number;
  readonly waitMs: number;
}

/** The provider's permits, by a semaphore in payment's database. */
export function createProviderPermits(options: ProviderPermitOptions): ProviderPermits {
  const { semaphores, permits, lineMax, waitMs } = options;
  return {
    async take() {
      try {
        return await semaphores.acquire("provider", { permits, lineMax, waitMs });
      } catch (error) {
        if (isSemaphoreBusy(error)) return undefined;
        throw error;
      }
    },
  };
}
