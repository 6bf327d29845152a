import type { Pool } from "pg";
import type { Logger } from "pino";
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import { sweepAsLeader } from "../chassis/leader-sweep.ts";
import type { ServiceDure } from "../chassis/messaging.ts";
import * as sql from "./checkout-sql.ts";

/** What the watch needs. */
export interface DeadlineWatchOptions {
  readonly pool: Pool;
  readonly dure: ServiceDure;
  readonly logger: Logger;
  readonly everyMs: number;
}

/** A checkout that waits too long. */
interface OverdueRow {
  readonly saga_id: string;
  readonly order_id: string;
  readonly waiting_for: string;
  readonly state: string;
  readonly updated_at: Date;
}

const batchSizeMax = 500;

/**
 * Looks for checkouts that wait too long until the signal ends it, and logs each once with the
 * service that it waits for. It only reports: the event may still come. One instance
 * watches at a time. Never rejects.
 */
export function watchDeadlines(options: DeadlineWatchOptions, signal: AbortSignal): Promise<void> {
  const { dure, everyMs } = options;
  return sweepAsLeader(
    { dure, name: "order.overdue", everyMs },
    ({ signal: ending }) => reportOverdue(options, ending),
    signal,
  );
}

/** Shows how many checkouts wait too long, by the service that they wait for. */
export function exposeOverdue(pool: Pool, registry: Registry): void {
  new Gauge({
    name: "shop_checkouts_overdue",
    help: "Choreographed checkouts that wait too long, by the service they wait for",
    labelNames: ["waiting_for"],
    registers: [registry],
    async collect() {
      const { rows } = await pool.query<{ waiting_for: string; count: number }>(sql.countOverdue);
      this.reset();
      for (const row of rows) this.set({ waiting_for: row.waiting_for }, row.count);
    },
  });
}

async function reportOverdue(options: DeadlineWatchOptions, signal: AbortSignal): Promise<void> {
  for (let found = batchSizeMax; found === batchSizeMax && !signal.aborted;) {
    const { rows } = await options.pool.query<OverdueRow>(sql.markOverdue, [batchSizeMax]);
    found = rows.length;
    for (const row of rows) {
      const { saga_id: sagaId, order_id: orderId, waiting_for: waitingFor, state } = row;
      const since = row.updated_at.toISOString();
      options.logger.warn({ orderId, sagaId, state, waitingFor, since }, "checkout waits too long");
    }
  }
}
