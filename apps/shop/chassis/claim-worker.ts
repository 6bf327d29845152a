import type { Clock } from "dure";
import type { Logger } from "pino";

/** Work that lies in a table, and what to do with a piece of it. */
export interface ClaimWorkerOptions<Item> {
  /** Pieces under way at the same time. */
  readonly concurrency: number;
  /** Takes up to so many due pieces, which nobody else gets until the claim runs out. */
  claim(limit: number): Promise<readonly Item[]>;
  /**
   * Does a piece and records what became of it. When it rejects, the piece comes again after its
   * claim. The signal aborts when the worker stops.
   */
  work(item: Item, signal: AbortSignal): Promise<void>;
  /** Prolongs the claims of what is under way. */
  renew(items: readonly Item[]): Promise<void>;
  /** Well below the time after which a claim runs out. */
  readonly renewEveryMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Works until it is stopped. */
export interface ClaimWorker {
  start(): void;
  /**
   * Says that there may be work soon: whoever writes it says so before the commit, and the worker
   * looks often for a moment. Without it, work is found within half a second.
   */
  wake(): void;
  /** Takes no more and resolves when nothing is under way. */
  stop(): Promise<void>;
}

const idleMsMin = 5;
const idleMsMax = 500;

/** A bounded worker over a table; several instances share the work by their claims. */
export function createClaimWorker<Item>(options: ClaimWorkerOptions<Item>): ClaimWorker {
  const { concurrency, clock, logger } = options;
  const stopping = new AbortController();
  const underWay = new Map<Item, Promise<void>>();
  const pause = createPause(clock);
  let loops: Promise<unknown> = Promise.resolve();

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const free = concurrency - underWay.size;
      const items = free === 0 ? [] : await attempt("claim", () => options.claim(free));
      for (const item of items ?? []) underWay.set(item, finish(item));
      // A full hand says that there is more; it is asked for when something is finished.
      if (items === undefined || items.length < free || free === 0) await pause.rest();
    }
    await Promise.all(underWay.values());
  }

  async function finish(item: Item): Promise<void> {
    await attempt("work", () => options.work(item, stopping.signal));
    underWay.delete(item);
    pause.end();
  }

  async function keepClaims(): Promise<void> {
    while (!stopping.signal.aborted) {
      await clock.sleep(options.renewEveryMs, stopping.signal);
      if (stopping.signal.aborted || underWay.size === 0) continue;
      await attempt("renew", () => options.renew([...underWay.keys()]));
    }
  }

  async function attempt<T>(what: string, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      // The claim runs out and the piece comes again: nothing else is left to decide here.
      logger.warn({ err: error, what }, "the worker goes on after a failure");
      return undefined;
    }
  }

  return {
    start() {
      loops = Promise.all([run(), keepClaims()]);
    },
    wake: () => pause.end(),
    async stop() {
      stopping.abort();
      pause.end();
      await loops;
    },
  };
}

interface Pause {
  /** Rests a moment, the longer the longer nothing was going on. */
  rest(): Promise<void>;
  /** Ends the rest, or the next one before it begins. */
  end(): void;
}

function createPause(clock: Clock): Pause {
  let idleMs = idleMsMin;
  let isEnded = false;
  let resting: AbortController | undefined;
  return {
    async rest() {
      if (!isEnded) {
        resting = new AbortController();
        await clock.sleep(idleMs, resting.signal);
        resting = undefined;
      }
      idleMs = isEnded ? idleMsMin : Math.min(idleMs * 2, idleMsMax);
      isEnded = false;
    },
    end() {
      isEnded = true;
      resting?.abort();
    },
  };
}
