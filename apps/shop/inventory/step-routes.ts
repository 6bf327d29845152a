import type { HttpApp } from "../chassis/http-app.ts";
import { compensatingCallOf, replyWith, stepCallOf } from "../chassis/step-call.ts";
import {
  cancelReservation,
  confirmReservation,
  renewReservation,
  reserveStock,
  restockPieces,
  unconfirmReservation,
} from "../contracts/http/inventory-steps.ts";
import type { StepContract } from "../contracts/http/step.ts";
import type { InventorySteps } from "./steps.ts";

/** What an orchestrator asks of the stock. */
export function registerStepRoutes(app: HttpApp, steps: InventorySteps): void {
  const forward = { access: "service", idempotencyKey: true } as const;
  const undoing = { ...forward, compensates: true } as const;

  const reserve = { config: forward, schema: schemaOf(reserveStock, "Set pieces aside") };
  app.post(reserveStock.path, reserve, async (request, reply) =>
    replyWith(reply, await steps.reserve(stepCallOf(request), request.body)),
  );

  const cancel = { config: undoing, schema: schemaOf(cancelReservation, "Let go of them") };
  app.post(cancelReservation.path, cancel, async (request, reply) =>
    replyWith(reply, await steps.cancel(compensatingCallOf(request), request.body)),
  );

  const confirm = { config: forward, schema: schemaOf(confirmReservation, "Sell them") };
  app.post(confirmReservation.path, confirm, async (request, reply) =>
    replyWith(reply, await steps.confirm(stepCallOf(request), request.body)),
  );

  const unconfirm = { config: undoing, schema: schemaOf(unconfirmReservation, "Unsell them") };
  app.post(unconfirmReservation.path, unconfirm, async (request, reply) =>
    replyWith(reply, await steps.unconfirm(compensatingCallOf(request), request.body)),
  );

  const restock = { config: forward, schema: schemaOf(restockPieces, "Take sold pieces back") };
  app.post(restockPieces.path, restock, async (request, reply) =>
    replyWith(reply, await steps.restock(stepCallOf(request), request.body)),
  );

  const renew = {
    config: { access: "service" } as const,
    schema: schemaOf(renewReservation, "Hold a reservation for as long again"),
  };
  app.post(renewReservation.path, renew, (request) => steps.renew(request.body));
}

function schemaOf<Body, Answer>(contract: StepContract<Body, Answer>, summary: string) {
  return {
    tags: ["steps"],
    summary,
    body: contract.body,
    response: { 200: contract.answer.describe("What it came to") },
  };
}
