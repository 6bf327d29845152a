import type { HttpApp } from "../chassis/http-app.ts";
import { replyWith, stepCallOf, stepSchemaOf } from "../chassis/step-call.ts";
import { startDelivery, stopDelivery } from "../contracts/http/delivery-steps.ts";
import type { DeliverySteps } from "./steps.ts";

/** What an orchestrator asks of an order's delivery. */
export function registerStepRoutes(app: HttpApp, steps: DeliverySteps): void {
  const config = { access: "service", idempotencyKey: true } as const;

  const start = { config, schema: stepSchemaOf(startDelivery, "Hand goods to the carrier") };
  app.post(startDelivery.path, start, async (request, reply) =>
    replyWith(reply, await steps.start(stepCallOf(request), request.body)),
  );

  const stop = { config, schema: stepSchemaOf(stopDelivery, "Call a delivery back") };
  app.post(stopDelivery.path, stop, async (request, reply) =>
    replyWith(reply, await steps.stop(stepCallOf(request), request.body)),
  );
}
