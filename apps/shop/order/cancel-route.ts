import type { HttpApp } from "../chassis/http-app.ts";
import { idempotencyKeyOf } from "../chassis/idempotency-key.ts";
import { principalOf, userRoles } from "../chassis/principal.ts";
import { callContextOf } from "../chassis/request-context.ts";
import { toTraceparent } from "../chassis/trace-context.ts";
import { cancelSchema, orderParamsSchema, orderViewSchema } from "../contracts/http/orders.ts";
import { createCancel } from "./cancel.ts";
import type { CancelOptions } from "./cancel.ts";
import { ownerFor, unavailable } from "./routes.ts";

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
  app.post("/orders/:orderId/cancel", { config, schema }, async (request, reply) => {
    const principal = principalOf(request);
    const { status, body, isReplayed } = await cancel({
      orderId: request.params.orderId,
      userId: principal.userId,
      owner: ownerFor(principal),
      idempotencyKey: idempotencyKeyOf(request),
      context: { traceparent: toTraceparent(callContextOf(request).trace) },
    }).catch(unavailable);
    if (isReplayed) reply.header("idempotent-replayed", "true");
    return reply.code(status === 202 ? 202 : 200).send(body);
  });
}
