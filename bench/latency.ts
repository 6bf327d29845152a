import type { Dure } from "dure";
import type { Pool, PoolClient } from "pg";
import { pace } from "./load.ts";
import { median, percentile } from "./measure.ts";
import { Measured, text } from "./service.ts";

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

/** A business transaction with one event that carries its number. */
export function commitOne(dure: Dure<PoolClient>): (n: number) => Promise<void> {
  return (n) =>
    dure.transaction(async (tx) => {
      await tx.query("insert into business (data) values ($1)", [text]);
      tx.emit(Measured, { id: `k${Math.floor(Math.random() * 10_000)}`, n, text });
    });
}

/** The same transaction with something else in it than an event. */
export function commitWith(
  pool: Pool,
  extra: (client: PoolClient, n: number) => Promise<void>,
): (n: number) => Promise<void> {
  return async (n) => {
    const client = await pool.connect();
    try {
      await client.query("begin");
      await client.query("insert into business (data) values ($1)", [text]);
      await extra(client, n);
      await client.query("commit");
    } finally {
      client.release();
    }
  };
}
