import { pace } from "./load.ts";
import { median, percentile } from "./measure.ts";

/** At what rate latency is measured. */
export const perSecond = 500;

/** The time since the epoch in milliseconds with its fractions, the same in all processes of a machine. */
export function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}

/** When the commit of each event was acknowledged, and when its handler began. */
export interface Moments {
  readonly acknowledged: Map<number, number>;
  readonly handled: ReadonlyMap<number, number>;
}

/** Commits one event at a time, at fixed moments, beginning with number `from`; notes each acknowledgement. */
export async function paceCommits(
  commit: (n: number) => Promise<void>,
  options: { readonly seconds: number; readonly from: number },
): Promise<Map<number, number>> {
  const acknowledged = new Map<number, number>();
  await pace({ perSecond, seconds: options.seconds }, async (index) => {
    const n = options.from + index;
    await commit(n);
    acknowledged.set(n, preciseNow());
  });
  return acknowledged;
}

/** The half and the last hundredth of the waits; throws when an event was not handled. */
export function latencies({ acknowledged, handled }: Moments): { p50: number; p99: number } {
  const waits = [...acknowledged].map(([n, at]) => {
    const handledAt = handled.get(n);
    if (handledAt === undefined) throw new Error(`event ${n} was not handled`);
    // A handler may begin before the writer has come to read its own acknowledgement.
    return Math.max(0, handledAt - at);
  });
  return { p50: median(waits), p99: percentile(waits, 0.99) };
}
