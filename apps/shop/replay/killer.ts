import { setTimeout as delay } from "node:timers/promises";
import { readProcessList } from "../runtime/process-list.ts";
import { seededRandom } from "./statistics.ts";
import type { StartTrouble, Trouble } from "./trouble.ts";

/** How {@link createKiller} goes about it. */
export interface KillerOptions {
  /** `processes.json` of the distributed shop. */
  readonly processesPath: string;
  /** Decides who dies when, as far as the processes are the same. */
  readonly seed: number;
}

/** Ends a random process of the shop with SIGKILL every two seconds or so, until told to stop. */
export function createKiller(options: KillerOptions): StartTrouble {
  return (onKilled) => startKiller(options, onKilled);
}

function startKiller(options: KillerOptions, onKilled: (service: string) => void): Trouble {
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
      onKilled(victim.name);
    }
  };
  const done = work();
  done.catch(() => undefined); // stop() tells
  return {
    victims: killed,
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
