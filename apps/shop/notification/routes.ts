import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { loopbackOnly } from "../chassis/loopback.ts";
import { participantFaultsSchema } from "../contracts/http/faults.ts";
import { TimelinePart } from "../contracts/http/internal.ts";
import { orderParamsSchema } from "../contracts/http/orders.ts";
import type { FaultInjector } from "./faults.ts";
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
