import type { Pool } from "pg";
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import * as sql from "./checkout-sql.ts";

/** Shows how many choreographed checkouts wait too long, by the service that they wait for. */
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
