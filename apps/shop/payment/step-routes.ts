import type { HttpApp } from "../chassis/http-app.ts";
import { compensatingCallOf, replyWith, stepCallOf, stepSchemaOf } from "../chassis/step-call.ts";
import {
  authorizePayment,
  capturePayment,
  chargePayment,
  refundCharge,
  refundPayment,
  voidPayment,
} from "../contracts/http/payment-steps.ts";
import type { PaymentSteps } from "./steps.ts";

/** What an orchestrator asks of an order's money. */
export function registerStepRoutes(app: HttpApp, steps: PaymentSteps): void {
  const forward = { access: "service", idempotencyKey: true } as const;
  const undoing = { ...forward, compensates: true } as const;

  const authorize = { config: forward, schema: stepSchemaOf(authorizePayment, "Hold money") };
  app.post(authorizePayment.path, authorize, async (request, reply) =>
    replyWith(reply, await steps.authorize(stepCallOf(request), request.body)),
  );

  const charge = { config: forward, schema: stepSchemaOf(chargePayment, "Take money at once") };
  app.post(chargePayment.path, charge, async (request, reply) =>
    replyWith(reply, await steps.charge(stepCallOf(request), request.body)),
  );

  const capture = { config: forward, schema: stepSchemaOf(capturePayment, "Take held money") };
  app.post(capturePayment.path, capture, async (request, reply) =>
    replyWith(reply, await steps.capture(stepCallOf(request), request.body)),
  );

  const refund = { config: forward, schema: stepSchemaOf(refundPayment, "Give paid money back") };
  app.post(refundPayment.path, refund, async (request, reply) =>
    replyWith(reply, await steps.refund(stepCallOf(request), request.body)),
  );

  const letGo = { config: undoing, schema: stepSchemaOf(voidPayment, "Undo an authorization") };
  app.post(voidPayment.path, letGo, async (request, reply) =>
    replyWith(reply, await steps.void(compensatingCallOf(request), request.body)),
  );

  const giveBack = { config: undoing, schema: stepSchemaOf(refundCharge, "Undo a charge") };
  app.post(refundCharge.path, giveBack, async (request, reply) =>
    replyWith(reply, await steps.refundCharge(compensatingCallOf(request), request.body)),
  );
}
