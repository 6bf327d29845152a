import type { KeyedTransaction } from "dure";
import { idempotent } from "dure/http/fastify";
import type { FastifyRequest } from "fastify";
import type { PoolClient } from "pg";
import type { HttpApp } from "../chassis/http-app.ts";
import { keyedRoute, unavailable } from "../chassis/keyed-route.ts";
import { principalOf, userRoles } from "../chassis/principal.ts";
import { cancelSchema, orderParamsSchema, orderViewSchema } from "../contracts/http/orders.ts";
import { createCancel } from "./cancel.ts";
import type { CancelOptions } from "./cancel.ts";
import { ownerFor } from "./routes.ts";

/** `POST /orders/{orderId}/cancel`. */
export function registerCancelRoute(app: HttpApp, options: CancelOptions): void {
  const cancel = createCancel(options);
  const config = { access: userRoles, idempotencyKey: true };
  const schema = {
    tags: ["orders"],
    summary: "Cancel an order",
    params: orderParamsSchema,
    body: cancelSchema,
    response: {
      200: orderViewSchema.describe("It is canceled, or was being canceled already"),
      202: orderViewSchema.describe("It will be undone"),
    },
  };
  const keyed = idempotent<CancelRequestOf, KeyedTransaction<PoolClient>>(
    options.dure,
    keyedRoute,
    ({ request, tx }) => {
      const principal = principalOf(request);
      const { orderId } = request.params;
      return cancel(tx, { orderId, userId: principal.userId, owner: ownerFor(principal) });
    },
  );
  app.post("/orders/:orderId/cancel", { config, schema }, (request, reply) =>
    keyed(request, reply).catch(unavailable),
  );
}

type CancelRequestOf = FastifyRequest<{ readonly Params: { readonly orderId: string } }>;
