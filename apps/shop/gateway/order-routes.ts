import type { HttpApp } from "../chassis/http-app.ts";
import { pathOf } from "../chassis/peer-client.ts";
import type { PeerClient } from "../chassis/peer-client.ts";
import { userRoles } from "../chassis/principal.ts";
import {
  acceptedOrderSchema,
  cancelSchema,
  newOrderSchema,
  orderPageSchema,
  orderParamsSchema,
  orderQuerySchema,
  orderViewSchema,
} from "../contracts/http/orders.ts";
import { timelineSchema } from "../contracts/http/timeline.ts";
import { askOwner, passOn } from "./forward.ts";

const tags = ["orders"];

/**
 * Orders belong to the order service: it decides who sees which. The gateway refuses what cannot
 * be right, and hands on the rest.
 */
export function registerOrderRoutes(app: HttpApp, orders: PeerClient): void {
  registerChanges(app, orders);
  registerReads(app, orders);
}

function registerChanges(app: HttpApp, orders: PeerClient): void {
  const config = { access: userRoles, idempotencyKey: true };

  const createSchema = {
    tags,
    summary: "Place an order",
    body: newOrderSchema,
    response: { 201: acceptedOrderSchema.describe("Accepted; the checkout runs") },
  };
  app.post("/orders", { config, schema: createSchema }, async (request, reply) => {
    const call = { method: "POST", path: "/orders", body: request.body } as const;
    return passOn(reply, await askOwner(orders, request, call));
  });

  const schema = {
    tags,
    summary: "Cancel an order",
    params: orderParamsSchema,
    body: cancelSchema,
    response: {
      200: orderViewSchema.describe("It is canceled, or was being canceled already"),
      202: orderViewSchema.describe("It will be undone"),
    },
  };
  app.post("/orders/:orderId/cancel", { config, schema }, async (request, reply) => {
    const path = pathOf("orders", request.params.orderId, "cancel");
    return passOn(reply, await askOwner(orders, request, { method: "POST", path, body: {} }));
  });
}

function registerReads(app: HttpApp, orders: PeerClient): void {
  const config = { access: userRoles };

  const listSchema = {
    tags,
    summary: "List orders, newest first: one's own, or all for merchants and operators",
    querystring: orderQuerySchema,
    response: { 200: orderPageSchema.describe("A page of orders") },
  };
  app.get("/orders", { config, schema: listSchema }, async (request, reply) => {
    const query = { ...request.query, limit: request.query.limit?.toString() };
    const call = { method: "GET", path: "/orders", query } as const;
    return passOn(reply, await askOwner(orders, request, call));
  });

  const readSchema = {
    tags,
    summary: "Read an order",
    params: orderParamsSchema,
    response: { 200: orderViewSchema.describe("The order") },
  };
  app.get("/orders/:orderId", { config, schema: readSchema }, async (request, reply) => {
    const path = pathOf("orders", request.params.orderId);
    return passOn(reply, await askOwner(orders, request, { method: "GET", path }));
  });

  const schema = {
    tags,
    summary: "Read what happened to an order in every service",
    params: orderParamsSchema,
    response: { 200: timelineSchema.describe("By time") },
  };
  app.get("/orders/:orderId/timeline", { config, schema }, async (request, reply) => {
    const path = pathOf("orders", request.params.orderId, "timeline");
    return passOn(reply, await askOwner(orders, request, { method: "GET", path }));
  });
}
