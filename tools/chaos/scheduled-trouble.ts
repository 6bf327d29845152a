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
  let count = 0;
  let healedAt: number | undefined;
  const begin = (): Trouble => {
    const beganAt = performance.now();
    const over = new AbortController();
    const stopping = new AbortController();
    const victims: string[] = [];
    const log = (what: string): void => {
      options.log(`${((performance.now() - beganAt) / 1000).toFixed(1).padStart(6)} s  ${what}`);
    };
    /** Resolves early when it is to stop. */
    const untilMs = async (atMs: number): Promise<void> => {
      const waitMs = Math.max(0, beganAt + atMs - performance.now());
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    };
    const carryOut = async ({ fault, durationMs }: Disturbance): Promise<void> => {
      const what = describeFault(fault);
      log(durationMs > 0 ? `${what}, for ${(durationMs / 1000).toFixed(1)} s` : what);
      count += 1;
      victims.push(what);
      const startedMs = performance.now() - beganAt;
      const heal = await disturb(stage, fault);
      if (heal === undefined) return;
      try {
        await untilMs(startedMs + durationMs);
      } finally {
        await heal();
        log(`healed: ${what}`);
      }
    };
    const runLane = async (lane: Lane): Promise<void> => {
      for (const disturbance of lane) {
        await untilMs(disturbance.atMs);
        if (stopping.signal.aborted) return;
        await carryOut(disturbance);
      }
    };
    const work = async (): Promise<void> => {
      try {
        const lanes = options.lanes.map((lane) =>
          runLane(lane).catch((error: unknown) => {
            // The other lane heals what it has broken, before the failure is told.
            stopping.abort();
            throw error;
          }),
        );
        await Promise.allSettled(lanes);
        await Promise.all(lanes);
        await untilMs(options.durationMs);
      } finally {
        stage.links.heal();
        healedAt = performance.now();
        log("everything is whole again");
        over.abort();
      }
    };
    const done = work();
    done.catch(() => undefined); // stop() tells
    return {
      victims,
      ...(options.isEndless ? { over: over.signal } : {}),
      async stop() {
        stopping.abort();
        await done;
      },
    };
  };
  return {
    start: begin,
    get count() {
      return count;
    },
    get healedAt() {
      return healedAt;
    },
  };
}
