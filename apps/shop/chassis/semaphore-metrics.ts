import type { SemaphoreStatus } from "dure/admin";
import { Gauge } from "prom-client";
import type { Registry } from "prom-client";
import type { ServiceDure } from "./messaging.ts";

/** Permits, lines and what was refused, under `/metrics`. */
export function exposeSemaphoreMetrics(dure: ServiceDure, registry: Registry): void {
  // One look at the database for all gauges of a scrape: they are collected side by side.
  let looking: Promise<readonly SemaphoreStatus[]> | undefined;
  const look = (): Promise<readonly SemaphoreStatus[]> =>
    (looking ??= dure.semaphores.list().finally(() => {
      looking = undefined;
    }));
  const gauge = (name: string, help: string, read: (status: SemaphoreStatus) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ["semaphore"],
      registers: [registry],
      async collect() {
        for (const status of await look()) this.set({ semaphore: status.name }, read(status));
      },
    });
  };
  gauge("dure_semaphore_permits", "Permits in force", ({ permits }) => permits);
  gauge("dure_semaphore_held", "Permits that are held, of all instances", ({ held }) => held);
  gauge("dure_semaphore_waiting", "Length of the line", ({ waiting }) => waiting);
  gauge(
    "dure_semaphore_oldest_wait_seconds",
    "How long the first of the line has been waiting; 0 when nobody is",
    ({ oldestWaitMs }) => oldestWaitMs / 1_000,
  );
  new Gauge({
    name: "dure_semaphore_refused",
    help: "Refused by this instance since its start: the line was full, or none came free in time",
    labelNames: ["semaphore", "why"],
    registers: [registry],
    collect() {
      for (const [semaphore, counts] of Object.entries(dure.semaphores.counts())) {
        this.set({ semaphore, why: "shed" }, counts.shed);
        this.set({ semaphore, why: "timed-out" }, counts.timedOut);
      }
    },
  });
}
