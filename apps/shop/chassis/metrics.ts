import { Histogram, Registry } from "prom-client";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

/** A registry of one server's own: services that share a process must not share counters. */
export function createMetrics(service: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  return registry;
}

/** Measures every answer of the server by method, route pattern and status. */
export function measureRequests(app: FastifyInstance, registry: Registry): void {
  const duration = new Histogram({
    name: "http_request_duration_seconds",
    help: "Time from the request's headers to the end of its answer",
    labelNames: ["method", "route", "status"],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });
  app.addHook("onResponse", (request, reply, done) => {
    duration.observe(labelsOf(request, reply), reply.elapsedTime / 1000);
    done();
  });
}

function labelsOf(request: FastifyRequest, reply: FastifyReply): Record<string, string> {
  return {
    method: request.method,
    // The pattern, never the path: ids would make a time series per order.
    route: request.is404 ? "unknown" : (request.routeOptions.url ?? "unknown"),
    status: String(reply.statusCode),
  };
}
