import type { HttpApp } from "../chassis/http-app.ts";
import { idempotencyKeyOf } from "../chassis/idempotency-key.ts";
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
import { readReturn, takeBack } from "./returns.ts";
import type { ReturnOptions } from "./returns.ts";
import { ownerFor, unavailable } from "./routes.ts";

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
  app.post("/returns", { config: createConfig, schema: createSchema }, async (request, reply) => {
    const principal = principalOf(request);
    if (!hasRole(principal, ["merchant"]) && principal.userId !== request.body.userId) {
      throw new ProblemError("FORBIDDEN", "Customers return their own purchases.");
    }
    const { body, isReplayed } = await takeBack(options, {
      userId: principal.userId,
      idempotencyKey: idempotencyKeyOf(request),
      body: request.body,
      context: { traceparent: toTraceparent(callContextOf(request).trace) },
    }).catch(unavailable);
    if (isReplayed) reply.header("idempotent-replayed", "true");
    return reply.code(201).send(body);
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
