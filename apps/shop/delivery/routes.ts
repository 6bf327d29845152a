import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { DeliveriesPage, PageQuery, TimelinePart } from "../contracts/http/internal.ts";
import { orderParamsSchema } from "../contracts/http/orders.ts";
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
