import { setTimeout as delay } from "node:timers/promises";
import { readProcessList } from "../../apps/shop/runtime/process-list.ts";

/** What the consumers of all processes have said of the order of their messages. */
export interface OrderVerdict {
  /** Gaps and reorders, by process: empty is what must be. */
  readonly violations: readonly string[];
  /** Messages that were delivered again and dropped. */
  readonly duplicateCount: number;
  /** How many processes were heard at least once. */
  readonly processCount: number;
}

/** Listens to the shop's metrics until told to stop. */
export interface OrderWatch {
  stop(): Promise<OrderVerdict>;
}

interface Heard {
  readonly label: string;
  readonly violations: number;
  readonly duplicates: number;
}

const everyMs = 1_000;
const answerMsMax = 2_000;

/**
 * Asks every process each second, since the counts of one that is killed die with it. What a process has
 * said once it cannot take back: a gap that is filled later is a reorder.
 */
export function watchOrder(processesPath: string): OrderWatch {
  const heard = new Map<number, Heard>();
  const stopping = new AbortController();
  const look = async (): Promise<void> => {
    const entries = await readProcessList(processesPath);
    await Promise.all(
      entries.map(async ({ name, instance, pid, url }) => {
        const text = await fetchMetrics(url);
        if (text === undefined) return;
        const violations = readGauge(text, "dure_key_order_violations");
        if (violations === undefined) return;
        const before = heard.get(pid)?.violations ?? 0;
        heard.set(pid, {
          label: `${name}#${instance}, pid ${pid}`,
          violations: Math.max(before, violations),
          duplicates: readGauge(text, "dure_inbox_duplicates") ?? 0,
        });
      }),
    );
  };
  const work = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await look();
      await delay(everyMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  const done = work();
  done.catch(() => undefined); // stop() tells
  return {
    async stop() {
      stopping.abort();
      await done;
      await look();
      const all = [...heard.values()];
      return {
        violations: all
          .filter(({ violations }) => violations > 0)
          .map(({ label, violations }) => `${label}: ${violations} gaps and reorders`),
        duplicateCount: all.reduce((sum, { duplicates }) => sum + duplicates, 0),
        processCount: all.length,
      };
    },
  };
}

async function fetchMetrics(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(answerMsMax) });
    return response.ok ? await response.text() : undefined;
  } catch {
    return undefined; // down, frozen, or without its database
  }
}

function readGauge(text: string, name: string): number | undefined {
  const value = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1];
  return value === undefined ? undefined : Number(value);
}
