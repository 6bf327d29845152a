import type { HttpApp } from "../chassis/http-app.ts";
import { hasRole, principalOf, userRoles } from "../chassis/principal.ts";
import { ProblemError } from "../chassis/problem.ts";
import {
  acceptedReturnSchema,
  newReturnSchema,
  returnParamsSchema,
  returnViewSchema,
} from "../contracts/http/returns.ts";

/** Goods that come back: checked, and refused until returns are built. */
export function registerReturnRoutes(app: HttpApp): void {
  const tags = ["returns"];

  const createSchema = {
    tags,
    summary: "Take goods back: one's own, or anyone's for merchants",
    body: newReturnSchema,
    response: { 201: acceptedReturnSchema.describe("Accepted; refund and restock run") },
  };
  const createConfig = { access: ["customer", "merchant"], idempotencyKey: true } as const;
  app.post("/returns", { config: createConfig, schema: createSchema }, async (request) => {
    const principal = principalOf(request);
    if (!hasRole(principal, ["merchant"]) && principal.userId !== request.body.userId) {
      throw new ProblemError("FORBIDDEN", "Customers return their own purchases.");
    }
    throw new ProblemError("NOT_IMPLEMENTED", "Returns are not built yet.");
  });

  const readSchema = {
    tags,
    summary: "Read a return",
    params: returnParamsSchema,
    response: { 200: returnViewSchema.describe("The return") },
  };
  app.get("/returns/:returnId", { config: { access: userRoles }, schema: readSchema }, async () => {
    throw new ProblemError("NOT_FOUND", "There is no such return.");
  });
}
