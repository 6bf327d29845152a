import type { Pool } from "pg";
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import type { PendingOperation } from "./domain.ts";
import * as sql from "./payment-sql.ts";
import * as stepSql from "./step-sql.ts";

const operations: readonly PendingOperation[] = ["charge", "cancel", "refund"];

/** How many payments wait for the provider, and how long, of all instances together, under `/metrics`. */
export function exposeWaitingPayments(pool: Pool, registry: Registry): void {
  new Gauge({
    name: "payments_waiting_for_provider",
    help: "Payments whose charge, cancellation or refund the provider has not settled yet",
    labelNames: ["operation"],
    registers: [registry],
    async collect() {
      const { rows } = await pool.query<{ pending_operation: string; payments: number }>(
        sql.countWaiting,
      );
      const counts = new Map(rows.map((row) => [row.pending_operation, row.payments]));
      for (const operation of operations) this.set({ operation }, counts.get(operation) ?? 0);
    },
  });
  new Gauge({
    name: "payment_steps_waiting_for_provider",
    help: "Payment steps whose outcome the provider has not settled yet",
    registers: [registry],
    async collect() {
      const { rows } = await pool.query<{ open: number }>(stepSql.countOpen);
      this.set(rows[0]?.open ?? 0);
    },
  });
  // A query of its own: gauges are collected side by side, so one cannot set another's value in time.
  new Gauge({
    name: "payments_waiting_for_provider_oldest_age_seconds",
    help: "How long the oldest of them has been waiting; 0 when none waits",
    registers: [registry],
    async collect() {
      const { rows } = await pool.query<{ oldest_seconds: number | null }>(sql.oldestWaiting);
      this.set(rows[0]?.oldest_seconds ?? 0);
    },
  });
}
