import type { HttpApp } from "../chassis/http-app.ts";
import { compensatingCallOf, replyWith, stepCallOf, stepSchemaOf } from "../chassis/step-call.ts";
import {
  cancelReservation,
  confirmReservation,
  renewReservation,
  reserveStock,
  restockPieces,
  unconfirmReservation,
} from "../contracts/http/inventory-steps.ts";
import type { InventorySteps } from "./steps.ts";

/** What an orchestrator asks of the stock. */
export function registerStepRoutes(app: HttpApp, steps: InventorySteps): void {
  const forward = { access: "service", idempotencyKey: true } as const;
  const undoing = { ...forward, compensates: true } as const;

  const reserve = { config: forward, schema: stepSchemaOf(reserveStock, "Set pieces aside") };
  app.post(reserveStock.path, reserve, async (request, reply) =>
    replyWith(reply, await steps.reserve(stepCallOf(request), request.body)),
  );

  const cancel = { config: undoing, schema: stepSchemaOf(cancelReservation, "Let go of them") };
  app.post(cancelReservation.path, cancel, async (request, reply) =>
    replyWith(reply, await steps.cancel(compensatingCallOf(request), request.body)),
  );

  const confirm = { config: forward, schema: stepSchemaOf(confirmReservation, "Sell them") };
  app.post(confirmReservation.path, confirm, async (request, reply) =>
    replyWith(reply, await steps.confirm(stepCallOf(request), request.body)),
  );

  const unconfirm = { config: undoing, schema: stepSchemaOf(unconfirmReservation, "Unsell them") };
  app.post(unconfirmReservation.path, unconfirm, async (request, reply) =>
    replyWith(reply, await steps.unconfirm(compensatingCallOf(request), request.body)),
  );

  const restock = { config: forward, schema: stepSchemaOf(restockPieces, "Take sold pieces back") };
  app.post(restockPieces.path, restock, async (request, reply) =>
    replyWith(reply, await steps.restock(stepCallOf(request), request.body)),
  );

  const renew = {
    config: { access: "service" } as const,
    schema: stepSchemaOf(renewReservation, "Hold a reservation for as long again"),
  };
  app.post(renewReservation.path, renew, (request) => steps.renew(request.body));
}
