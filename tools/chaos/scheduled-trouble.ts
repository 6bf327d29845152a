import { setTimeout as delay } from "node:timers/promises";
import type { StartTrouble, Trouble } from "../../apps/shop/replay/trouble.ts";
import type { ChaosShop } from "./chaos-shop.ts";
import { disturb } from "./disturber.ts";
import { describeFault } from "./schedule.ts";
import type { Disturbance, Lane } from "./schedule.ts";

/** What {@link createScheduledTrouble} takes. */
export interface ScheduledTroubleOptions {
  readonly lanes: readonly Lane[];
  readonly durationMs: number;
  /** Whether the file is posted again and again until the time is over; else the trouble ends with the posting. */
  readonly isEndless: boolean;
  /** One line for each disturbance that begins or is healed. */
  readonly log: (line: string) => void;
}

/** A trouble that knows what it has done, and when everything was whole again. */
export interface ScheduledTrouble {
  readonly start: StartTrouble;
  /** How many disturbances began. */
  readonly count: number;
  /** By `performance.now()`; undefined while something may still be broken. */
  readonly healedAt: number | undefined;
}

/** Carries out a schedule, its lanes side by side. */
export function createScheduledTrouble(
  stage: ChaosShop,
  options: ScheduledTroubleOptions,
): ScheduledTrouble {
  let run: TroubleRun | undefined;
  return {
    start: () => {
      run = new TroubleRun(stage, options);
      run.begin();
      return run.trouble;
    },
    get count() {
      return run?.count ?? 0;
    },
    get healedAt() {
      return run?.healedAt;
    },
  };
}

class TroubleRun {
  count = 0;
  readonly trouble: Trouble;
  healedAt: number | undefined;
  readonly #stage: ChaosShop;
  readonly #options: ScheduledTroubleOptions;
  readonly #beganAt = performance.now();
  readonly #over = new AbortController();
  readonly #stopping = new AbortController();
  #done: Promise<void> = Promise.resolve();

  constructor(stage: ChaosShop, options: ScheduledTroubleOptions) {
    this.#stage = stage;
    this.#options = options;
    this.trouble = {
      victims: [], // the log has named them
      ...(options.isEndless ? { over: this.#over.signal } : {}),
      stop: async () => {
        this.#stopping.abort();
        await this.#done;
      },
    };
  }

  begin(): void {
    this.#done = this.#run();
    this.#done.catch(() => undefined); // stop() tells
  }

  async #run(): Promise<void> {
    try {
      const lanes = this.#options.lanes.map(async (lane) => {
        try {
          await this.#runLane(lane);
        } catch (error) {
          // The other lane heals what it has broken, before the failure is told.
          this.#stopping.abort();
          throw error;
        }
      });
      await Promise.allSettled(lanes);
      await Promise.all(lanes);
      await this.#until(this.#options.durationMs);
    } finally {
      this.#stage.links.heal();
      this.healedAt = performance.now();
      this.#log("everything is whole again");
      this.#over.abort();
    }
  }

  async #runLane(lane: Lane): Promise<void> {
    for (const disturbance of lane) {
      await this.#until(disturbance.atMs);
      if (this.#stopping.signal.aborted) return;
      await this.#carryOut(disturbance);
    }
  }

  async #carryOut({ fault, durationMs }: Disturbance): Promise<void> {
    const what = describeFault(fault);
    this.#log(durationMs > 0 ? `${what}, for ${(durationMs / 1000).toFixed(1)} s` : what);
    this.count += 1;
    const startedMs = this.#elapsedMs();
    const heal = await disturb(this.#stage, fault);
    if (heal === undefined) return;
    await this.#until(startedMs + durationMs);
    await heal();
    this.#log(`healed: ${what}`);
  }

  /** Resolves early when the trouble is to stop. */
  async #until(atMs: number): Promise<void> {
    const { signal } = this.#stopping;
    const waitMs = Math.max(0, atMs - this.#elapsedMs());
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
  }

  #elapsedMs(): number {
    return performance.now() - this.#beganAt;
  }

  #log(what: string): void {
    this.#options.log(`${(this.#elapsedMs() / 1000).toFixed(1).padStart(6)} s  ${what}`);
  }
}
