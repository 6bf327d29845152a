import type { Clock } from "dure";

/** Leave to ask the provider, given back at the end of its block. */
export interface Permit {
  [Symbol.dispose](): void;
}

/** Keeps this process to as many requests at once as the provider takes. */
export interface Permits {
  /**
   * The next free permit, first come first served. Undefined: the line is full, or none came free
   * in the time.
   */
  take(waitMs: number): Promise<Permit | undefined>;
}

/** What {@link createPermits} takes. */
export interface PermitOptions {
  readonly max: number;
  /** How many may wait in line. */
  readonly waitingMax: number;
  readonly clock: Pick<Clock, "sleep">;
}

/** A semaphore with a bounded waiting line, for this process alone. */
export function createPermits({ max, waitingMax, clock }: PermitOptions): Permits {
  const line: Waiter[] = [];
  let free = max;

  function permit(): Permit {
    let isHeld = true;
    return {
      [Symbol.dispose]() {
        if (!isHeld) return;
        isHeld = false;
        const next = line.shift();
        if (next === undefined) free += 1;
        else next.give(permit());
      },
    };
  }

  return {
    async take(waitMs) {
      if (free > 0) {
        free -= 1;
        return permit();
      }
      if (line.length >= waitingMax) return undefined;
      const { promise, resolve } = Promise.withResolvers<Permit | undefined>();
      const waiter: Waiter = { give: resolve };
      line.push(waiter);
      const served = new AbortController();
      void clock.sleep(waitMs, served.signal).then(() => {
        const place = line.indexOf(waiter);
        if (place !== -1) line.splice(place, 1);
        // Who was served meanwhile keeps the permit: a promise is resolved once.
        resolve(undefined);
      });
      const given = await promise;
      served.abort();
      return given;
    },
  };
}

interface Waiter {
  give(permit: Permit): void;
}
