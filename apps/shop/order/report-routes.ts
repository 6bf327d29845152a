import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { PeerError } from "../chassis/peer-error.ts";
import { principalOf, userRoles } from "../chassis/principal.ts";
import { ProblemError } from "../chassis/problem.ts";
import { callContextOf } from "../chassis/request-context.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import { orderParamsSchema } from "../contracts/http/orders.ts";
import { reconciliationSchema } from "../contracts/http/reconciliation.ts";
import { timelineSchema } from "../contracts/http/timeline.ts";
import { readOrder } from "./orders.ts";
import type { Peers } from "./peers.ts";
import { reconcile } from "./reconciliation.ts";
import { ownerFor } from "./routes.ts";
import { mergedTimeline, ownTimeline } from "./timeline.ts";

/** What reports are made from. */
export interface ReportOptions {
  readonly pool: Pool;
  readonly peers: Peers;
  /** Ends a long report when the service stops. */
  readonly stopping: AbortSignal;
}

/** What all services together say: about one order, and about all of them. */
export function registerReportRoutes(app: HttpApp, options: ReportOptions): void {
  registerTimelines(app, options);
  registerReconciliation(app, options);
}

function registerTimelines(app: HttpApp, { pool, peers, stopping }: ReportOptions): void {
  const schema = {
    tags: ["orders"],
    summary: "Read what happened to an order in every service",
    params: orderParamsSchema,
    response: { 200: timelineSchema.describe("By time") },
  };
  const config = { access: userRoles };
  app.get("/orders/:orderId/timeline", { config, schema }, async (request) => {
    const { orderId } = request.params;
    const order = await readOrder(pool, orderId, ownerFor(principalOf(request)));
    return mergedTimeline(pool, peers, order, callContextOf(request, stopping));
  });

  const partSchema = {
    tags: ["internal"],
    summary: "Read what the order service knows of an order",
    params: orderParamsSchema,
    response: { 200: TimelinePart.describe("By time") },
  };
  const route = { config: { access: "service" }, schema: partSchema } as const;
  app.get("/internal/timeline/:orderId", route, async (request) => {
    const order = await readOrder(pool, request.params.orderId, undefined);
    const entries = await ownTimeline(pool, order);
    return {
      entries: entries.map(({ details, ...entry }) => ({
        ...entry,
        ...(details === undefined ? {} : { detail: { ...details } }),
      })),
    };
  });
}

function registerReconciliation(app: HttpApp, { pool, peers, stopping }: ReportOptions): void {
  const schema = {
    tags: ["reconciliation"],
    summary: "Compare what every service, and the provider, believe",
    response: { 200: reconciliationSchema.describe("What agrees and what does not") },
  };
  const config = { access: ["merchant", "operator"] } as const;
  app.get("/reconciliation", { config, schema }, (request) =>
    reconcile({ pool, peers, context: callContextOf(request, stopping) }).catch(notReady),
  );
}

function notReady(error: unknown): never {
  if (!(error instanceof PeerError)) throw error;
  const detail = `The ${error.peer} service could not be read, so nothing can be compared.`;
  throw new ProblemError("NOT_READY", detail, { retryAfterMs: 1000, cause: error });
}
