import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import { orderParamsSchema } from "../contracts/http/orders.ts";
import { notificationsSchema, readNotifications, readTimeline } from "./reports.ts";

/** What the other services read to tell an order's story. */
export function registerInternalRoutes(app: HttpApp, pool: Pool): void {
  const config = { access: "service" } as const;
  const tags = ["internal"];

  const listSchema = {
    tags,
    summary: "What was sent about an order, or could not be",
    querystring: orderParamsSchema,
    response: { 200: notificationsSchema.describe("Oldest first") },
  };
  app.get("/internal/notifications", { config, schema: listSchema }, async (request) => ({
    notifications: await readNotifications(pool, request.query.orderId),
  }));

  const timelineSchema = {
    tags,
    summary: "Who was told of an order's end",
    params: orderParamsSchema,
    response: { 200: TimelinePart.describe("Oldest first") },
  };
  app.get("/internal/timeline/:orderId", { config, schema: timelineSchema }, async (request) => ({
    entries: await readTimeline(pool, request.params.orderId),
  }));
}
