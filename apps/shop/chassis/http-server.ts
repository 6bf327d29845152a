import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { guardRoutes } from "./access.ts";
import type { Callers } from "./access.ts";
import { createAllowedMethods } from "./allowed-methods.ts";
import type { Authenticator } from "./auth.ts";
import { readCompensatedKeys } from "./compensates.ts";
import type { ServiceName, StopOptions } from "./config.ts";
import { answerErrorsAsProblems } from "./error-answers.ts";
import { createHttpApp } from "./http-app.ts";
import type { HttpApp } from "./http-app.ts";
import { readIdempotencyKeys } from "./idempotency-key.ts";
import { acceptJsonOnly } from "./json-body.ts";
import { createMetrics, measureRequests } from "./metrics.ts";
import { describeApi, serveApiDocument } from "./openapi.ts";
import { registerOperationalRoutes } from "./operational-routes.ts";
import type { ReadinessCheck } from "./operational-routes.ts";
import { instrumentAnswers } from "./instruments.ts";
import type { ServiceInstruments } from "./instruments.ts";
import { identifyRequests, logRequests } from "./request-context.ts";

/** What a service brings to its HTTP server. */
export interface HttpServerOptions {
  readonly service: ServiceName;
  /** One sentence on what the service is for, shown in its documentation. */
  readonly description: string;
  readonly logger: Logger;
  readonly authenticator: Authenticator;
  readonly callers: Callers;
  /** What `/readyz` asks. @defaultValue nothing: ready when it listens */
  readonly readiness?: readonly ReadinessCheck[];
  readonly instruments?: ServiceInstruments | undefined;
}

/** A server before and after it listens. */
export interface HttpServer {
  /** Routes are added here, each with `config.access`, until `listen`. */
  readonly app: HttpApp;
  /** The service's own metrics are registered here and appear under `/metrics`. */
  readonly metrics: Registry;
  /** Starts listening and returns the base URL with the real port. */
  listen(address: { readonly host: string; readonly port: number }): Promise<string>;
  /** Refuses new connections, waits for requests in flight, closes what is left at the limit. */
  stop(options?: StopOptions): Promise<void>;
}

const stopWithinMsDefault = 10_000;

/**
 * An HTTP server that answers every request, however broken, in the shop's way: problem documents
 * with a closed list of codes, request id and trace on each answer, access declared per route,
 * bodies validated and never coerced, `/healthz`, `/readyz`, `/metrics`, `/openapi.json`, `/docs`.
 */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const app = createHttpApp(options.logger);
  const metrics = createMetrics(options.service);
  const allowed = createAllowedMethods();
  let stopped: Promise<void> | undefined;

  // The order of these hooks is the order in which a request meets them.
  app.addHook("onRoute", (route) => allowed.add(route.url, route.method));
  identifyRequests(plain(app));
  logRequests(plain(app));
  measureRequests(plain(app), metrics);
  if (options.instruments !== undefined) instrumentAnswers(plain(app), options.instruments);
  answerErrorsAsProblems(plain(app), allowed);
  acceptJsonOnly(plain(app));
  await describeApi(plain(app), {
    title: `Shop: ${options.service}`,
    description: options.description,
    version: "1.0.0",
  });
  guardRoutes(plain(app), options.authenticator, options.callers);
  readIdempotencyKeys(plain(app));
  readCompensatedKeys(plain(app));
  serveApiDocument(plain(app));
  registerOperationalRoutes(app, {
    checks: options.readiness ?? [],
    metrics,
    isStopping: () => stopped !== undefined,
  });

  return {
    app,
    metrics,
    listen: ({ host, port }) => app.listen({ host, port }),
    stop: (stopOptions) => (stopped ??= closeWithin(app, stopOptions?.withinMs)),
  };
}

/** The same instance for code that has no schemas: hooks and plugins are written without zod. */
function plain(app: HttpApp): FastifyInstance {
  return app as unknown as FastifyInstance;
}

async function closeWithin(app: HttpApp, withinMs = stopWithinMsDefault): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), withinMs);
  try {
    await app.close();
  } finally {
    clearTimeout(timer);
  }
}
