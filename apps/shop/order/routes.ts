import type { FastifyRequest } from "fastify";
import type { KeyedTransaction } from "dure";
import { idempotent } from "dure/http/fastify";
import type { Pool, PoolClient } from "pg";
import { ulid } from "ulid";
import type { HttpApp } from "../chassis/http-app.ts";
import { keyedRoute, keyedRouteRefusing, unavailable } from "../chassis/keyed-route.ts";
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
import type { NewOrder } from "../contracts/http/orders.ts";
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
  // Its events tell the saga, which has its name before the transaction begins.
  const sagaIds = new WeakMap<FastifyRequest, string>();
  const keyed = idempotent<PlaceRequestOf, KeyedTransaction<PoolClient>>(
    placement.dure,
    {
      ...keyedRouteRefusing("AMOUNT_TOO_LARGE", "PAYMENT_FLOW_NOT_SUPPORTED"),
      context: (request) => ({
        ...keyedRoute.context?.(request),
        correlationId: sagaIds.get(request),
      }),
    },
    async ({ request, tx, idempotencyKey = "" }) => {
      const order = await placeOrder(tx, placement, {
        userId: buyerOf(request),
        sagaId: sagaIds.get(request) ?? "",
        idempotencyKey,
        body: request.body,
        traceparent: toTraceparent(callContextOf(request).trace),
      });
      return { status: 201, headers: { location: `/orders/${order.orderId}` }, body: order };
    },
  );
  app.post("/orders", { config, schema }, async (request, reply) => {
    buyerOf(request);
    sagaIds.set(request as FastifyRequest, `SAGA-${ulid()}`);
    return keyed(request, reply).catch(unavailable);
  });
}

type PlaceRequestOf = FastifyRequest<{ readonly Body: NewOrder }>;

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
