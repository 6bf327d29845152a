import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { loopbackOnly } from "../chassis/loopback.ts";
import { participantFaultsSchema } from "../contracts/http/faults.ts";
import { DeliveriesPage, PageQuery, TimelinePart } from "../contracts/http/internal.ts";
import { orderParamsSchema } from "../contracts/http/orders.ts";
import type { FaultInjector } from "./faults.ts";
import { readDeliveriesPage, readTimeline } from "./reports.ts";

/** What the other services read to compare, and to tell an order's story. */
export function registerInternalRoutes(app: HttpApp, pool: Pool): void {
  const config = { access: "service" } as const;
  const tags = ["internal"];

  const pageSchema = {
    tags,
    summary: "Every delivery that the carrier has answered",
    querystring: PageQuery,
    response: { 200: DeliveriesPage.describe("By order id") },
  };
  app.get("/internal/deliveries", { config, schema: pageSchema }, (request) =>
    readDeliveriesPage(pool, request.query),
  );

  const timelineSchema = {
    tags,
    summary: "What happened to an order's delivery",
    params: orderParamsSchema,
    response: { 200: TimelinePart.describe("Oldest first") },
  };
  app.get("/internal/timeline/:orderId", { config, schema: timelineSchema }, async (request) => ({
    entries: await readTimeline(pool, request.params.orderId),
  }));
}

/** What exists in demo mode only, on the machine itself, without a token. */
export function registerDemoRoutes(app: HttpApp, faults: FaultInjector): void {
  const schema = {
    tags: ["demo"],
    summary: "Replace all faults; what is left out is off",
    body: participantFaultsSchema,
    response: { 200: participantFaultsSchema.describe("The faults in force") },
  };
  const config = { access: "public" } as const;
  app.put("/faults", { config, preHandler: loopbackOnly, schema }, (request) => {
    faults.replace(request.body);
    return request.body;
  });
}
