import type { HttpApp } from "../chassis/http-app.ts";
import { pathOf } from "../chassis/peer-client.ts";
import type { PeerClient } from "../chassis/peer-client.ts";
import { userRoles } from "../chassis/principal.ts";
import {
  acceptedReturnSchema,
  newReturnSchema,
  returnParamsSchema,
  returnViewSchema,
} from "../contracts/http/returns.ts";
import { askOwner, passOn } from "./forward.ts";

/** Returns belong to the order service, which knows what was bought. */
export function registerReturnRoutes(app: HttpApp, orders: PeerClient): void {
  const tags = ["returns"];

  const createSchema = {
    tags,
    summary: "Take goods back: one's own, or anyone's for merchants",
    body: newReturnSchema,
    response: { 201: acceptedReturnSchema.describe("Accepted; refund and restock run") },
  };
  const createConfig = { access: ["customer", "merchant"], idempotencyKey: true } as const;
  app.post("/returns", { config: createConfig, schema: createSchema }, async (request, reply) => {
    const call = { method: "POST", path: "/returns", body: request.body } as const;
    return passOn(reply, await askOwner(orders, request, call));
  });

  const readSchema = {
    tags,
    summary: "Read a return",
    params: returnParamsSchema,
    response: { 200: returnViewSchema.describe("The return") },
  };
  app.get(
    "/returns/:returnId",
    { config: { access: userRoles }, schema: readSchema },
    async (request, reply) => {
      const path = pathOf("returns", request.params.returnId);
      return passOn(reply, await askOwner(orders, request, { method: "GET", path }));
    },
  );
}
