import type { HttpApp } from "../chassis/http-app.ts";
import type { PeerClient } from "../chassis/peer-client.ts";
import { reconciliationSchema } from "../contracts/http/reconciliation.ts";
import { askOwner, passOn } from "./forward.ts";

/** It reads every final order in every service, and reads again what looks wrong. */
const reconciliationTimeoutMs = 60_000;

/** The order service compares; the gateway only lets merchants ask. */
export function registerReconciliationRoutes(app: HttpApp, orders: PeerClient): void {
  const schema = {
    tags: ["reconciliation"],
    summary: "Compare what every service, and the provider, believe",
    response: { 200: reconciliationSchema.describe("What agrees and what does not") },
  };
  const config = { access: ["merchant"] } as const;
  app.get("/reconciliation", { config, schema }, async (request, reply) => {
    const path = "/reconciliation";
    const call = { method: "GET", path, timeoutMs: reconciliationTimeoutMs } as const;
    return passOn(reply, await askOwner(orders, request, call));
  });
}
