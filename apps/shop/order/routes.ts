import type { FastifyRequest } from "fastify";
import { isDureError } from "dure";
import type { Pool } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { idempotencyKeyOf } from "../chassis/idempotency-key.ts";
import { hasRole, principalOf, userRoles } from "../chassis/principal.ts";
import type { Principal } from "../chassis/principal.ts";
import { ProblemError } from "../chassis/problem.ts";
import { callContextOf } from "../chassis/request-context.ts";
import { toTraceparent } from "../chassis/trace-context.ts";
import { userIdSchema } from "../contracts/http/fields.ts";
import {
  acceptedOrderSchema,
  newOrderSchema,
  orderPageSchema,
  orderParamsSchema,
  orderQuerySchema,
  orderViewSchema,
} from "../contracts/http/orders.ts";
import { listOrders, readOrder } from "./orders.ts";
import type { Owner } from "./orders.ts";
import { placeOrder } from "./placement.ts";
import type { PlacementOptions } from "./placement.ts";

const tags = ["orders"];

/** What people do with orders; the gateway hands it on in their name. */
export function registerOrderRoutes(app: HttpApp, pool: Pool, placement: PlacementOptions): void {
  registerPlacement(app, placement);
  registerReads(app, pool);
}

/** Whose orders the principal may see: its own, or everybody's. */
export function ownerFor(principal: Principal): Owner {
  return hasRole(principal, ["merchant", "operator"]) ? undefined : principal.userId;
}

function registerPlacement(app: HttpApp, placement: PlacementOptions): void {
  const config = { access: userRoles, idempotencyKey: true };
  const schema = {
    tags,
    summary: "Place an order",
    body: newOrderSchema,
    response: { 201: acceptedOrderSchema.describe("Accepted; the checkout runs") },
  };
  app.post("/orders", { config, schema }, async (request, reply) => {
    const { order, isReplayed } = await placeOrder(placement, {
      userId: buyerOf(request),
      idempotencyKey: idempotencyKeyOf(request),
      body: request.body,
      context: { traceparent: toTraceparent(callContextOf(request).trace) },
    }).catch(unavailable);
    if (isReplayed) reply.header("idempotent-replayed", "true");
    return reply.code(201).header("location", `/orders/${order.orderId}`).send(order);
  });
}

function registerReads(app: HttpApp, pool: Pool): void {
  const config = { access: userRoles };

  const listSchema = {
    tags,
    summary: "List orders, newest first: one's own, or all for merchants and operators",
    querystring: orderQuerySchema,
    response: { 200: orderPageSchema.describe("A page of orders") },
  };
  app.get("/orders", { config, schema: listSchema }, (request) =>
    listOrders(pool, request.query, ownerFor(principalOf(request))),
  );

  const readSchema = {
    tags,
    summary: "Read an order",
    params: orderParamsSchema,
    response: { 200: orderViewSchema.describe("The order") },
  };
  app.get("/orders/:orderId", { config, schema: readSchema }, (request) =>
    visibleOrder(pool, request, request.params.orderId),
  );
}

/** Tokens of other issuers may name users as they like; what cannot be shown is not kept. */
function buyerOf(request: FastifyRequest): string {
  const { userId } = principalOf(request);
  if (userIdSchema.safeParse(userId).success) return userId;
  const errors = [{ path: "userId", message: "The token's subject is no user id of the shop" }];
  throw new ProblemError("VALIDATION_FAILED", "The user is not valid.", { errors });
}

function visibleOrder(pool: Pool, request: FastifyRequest, orderId: string) {
  return readOrder(pool, orderId, ownerFor(principalOf(request)));
}

/** Without a database, or in doubt about a commit, the same key is the way to find out. */
export function unavailable(error: unknown): never {
  const isPassing =
    isDureError(error, "DATABASE_UNAVAILABLE") || isDureError(error, "COMMIT_IN_DOUBT");
  if (!isPassing) throw error;
  const detail = "It may or may not have been done; send it again with the same key.";
  throw new ProblemError("NOT_READY", detail, { retryAfterMs: 1000, cause: error });
}
