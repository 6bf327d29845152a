import type { KeyedTransaction } from "dure";
import { idempotent } from "dure/http/fastify";
import type { FastifyRequest } from "fastify";
import type { PoolClient } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { keyedRoute, unavailable } from "../chassis/keyed-route.ts";
import { hasRole, principalOf, userRoles } from "../chassis/principal.ts";
import { ProblemError } from "../chassis/problem.ts";
import { callContextOf } from "../chassis/request-context.ts";
import { toTraceparent } from "../chassis/trace-context.ts";
import {
  acceptedReturnSchema,
  newReturnSchema,
  returnParamsSchema,
  returnViewSchema,
} from "../contracts/http/returns.ts";
import type { NewReturn } from "../contracts/http/returns.ts";
import { readReturn, takeBack } from "./returns.ts";
import type { ReturnOptions } from "./returns.ts";
import { ownerFor } from "./routes.ts";

/** Goods that come back. */
export function registerReturnRoutes(app: HttpApp, options: ReturnOptions): void {
  const tags = ["returns"];

  const createSchema = {
    tags,
    summary: "Take goods back: one's own, or anyone's for merchants",
    body: newReturnSchema,
    response: { 201: acceptedReturnSchema.describe("Accepted; refund and restock run") },
  };
  const createConfig = { access: ["customer", "merchant"], idempotencyKey: true } as const;
  const keyed = idempotent<ReturnRequestOf, KeyedTransaction<PoolClient>>(
    options.dure,
    keyedRoute,
    async ({ request, tx }) => {
      const traceparent = toTraceparent(callContextOf(request).trace);
      const body = await takeBack(tx, options, { body: request.body, traceparent });
      return { status: 201, body };
    },
  );
  app.post("/returns", { config: createConfig, schema: createSchema }, async (request, reply) => {
    const principal = principalOf(request);
    if (!hasRole(principal, ["merchant"]) && principal.userId !== request.body.userId) {
      throw new ProblemError("FORBIDDEN", "Customers return their own purchases.");
    }
    return keyed(request, reply).catch(unavailable);
  });

  const readSchema = {
    tags,
    summary: "Read a return",
    params: returnParamsSchema,
    response: { 200: returnViewSchema.describe("The return") },
  };
  app.get("/returns/:returnId", { config: { access: userRoles }, schema: readSchema }, (request) =>
    readReturn(options.pool, request.params.returnId, ownerFor(principalOf(request))),
  );
}

type ReturnRequestOf = FastifyRequest<{ readonly Body: NewReturn }>;
