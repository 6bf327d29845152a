import { setTimeout as delay } from "node:timers/promises";
import { readProcessList } from "../runtime/process-list.ts";
import { seededRandom } from "./statistics.ts";

/** How {@link startKiller} goes about it. */
export interface KillerOptions {
  /** `processes.json` of the distributed shop. */
  readonly processesPath: string;
  /** Decides who dies when, as far as the processes are the same. */
  readonly seed: number;
  /** Called after a kill with the service's name. */
  readonly onKilled: (name: string) => void;
}

/** Somebody who kills processes until told to stop. */
export interface Killer {
  readonly killed: readonly string[];
  stop(): Promise<void>;
}

/** Ends a random process of the shop with SIGKILL every two seconds or so. */
export function startKiller(options: KillerOptions): Killer {
  const random = seededRandom(options.seed);
  const stopping = new AbortController();
  const killed: string[] = [];
  const work = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await delay(1500 + random() * 1000, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      const entries = await readProcessList(options.processesPath);
      const victim = entries[Math.floor(random() * entries.length)];
      if (victim === undefined || !killNow(victim.pid)) continue;
      killed.push(`${victim.name}#${victim.instance}`);
      options.onKilled(victim.name);
    }
  };
  const done = work();
  done.catch(() => undefined); // stop() tells
  return {
    killed,
    async stop() {
      stopping.abort();
      await done;
    },
  };
}

/** False if the process has died in the meantime. */
function killNow(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch {
    return false;
  }
}
