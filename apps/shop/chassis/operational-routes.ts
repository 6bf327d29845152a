import type { Registry } from "prom-client";
import { z } from "zod";
import type { HttpApp } from "./http-app.ts";
import { ProblemError } from "./problem.ts";

/** One thing that a service cannot work without. */
export interface ReadinessCheck {
  /** Shown to the caller of `/readyz` when the check fails. */
  readonly name: string;
  /** Resolves when the thing is there, rejects when it is not. */
  check(signal: AbortSignal): Promise<void>;
}

/** What the operational routes report on. */
export interface OperationalRoutesOptions {
  readonly checks: readonly ReadinessCheck[];
  readonly metrics: Registry;
  /** A service that stops is healthy, but takes no new work. */
  isStopping(): boolean;
}

const checkWithinMs = 2000;

const statusSchema = z.strictObject({ status: z.literal("ok") });

/** `/healthz`: the process answers. `/readyz`: it can do its work. `/metrics`: for Prometheus. */
export function registerOperationalRoutes(app: HttpApp, options: OperationalRoutesOptions): void {
  const config = { access: "public" } as const;
  const schema = { tags: ["operations"], response: { 200: statusSchema } };

  app.get("/healthz", { config, schema: { ...schema, summary: "Is it alive?" } }, () => ({
    status: "ok" as const,
  }));

  app.get("/readyz", { config, schema: { ...schema, summary: "Can it work?" } }, async () => {
    const failed = options.isStopping() ? ["stopping"] : await failedChecks(options.checks);
    if (failed.length === 0) return { status: "ok" as const };
    throw new ProblemError("NOT_READY", `Not ready: ${failed.join(", ")}.`, { retryAfterMs: 1000 });
  });

  const metricsSchema = {
    tags: ["operations"],
    summary: "Metrics in Prometheus' text format",
    response: {
      200: { description: "Metrics", content: { "text/plain": { schema: z.string() } } },
    },
  };
  app.get("/metrics", { config, schema: metricsSchema }, async (_request, reply) => {
    const text = await options.metrics.metrics();
    return reply.type(options.metrics.contentType).serializer(String).send(text);
  });
}

async function failedChecks(checks: readonly ReadinessCheck[]): Promise<readonly string[]> {
  const signal = AbortSignal.timeout(checkWithinMs);
  const results = await Promise.all(checks.map((check) => passes(check, signal)));
  return checks.filter((_, at) => results[at] === false).map((check) => check.name);
}

async function passes(check: ReadinessCheck, signal: AbortSignal): Promise<boolean> {
  // A check that ignores its signal must not hold the probe.
  const expired = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(new Error("readiness check timed out")));
  });
  return Promise.race([check.check(signal), expired]).then(
    () => true,
    () => false,
  );
}
