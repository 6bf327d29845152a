import { participantFaultsSchema } from "../contracts/http/faults.ts";
import type { HttpApp } from "./http-app.ts";
import { loopbackOnly } from "./loopback.ts";
import type { ParticipantFaultInjector } from "./participant-faults.ts";

/** `PUT /faults`: exists in demo mode only, on the machine itself, without a token. */
export function registerParticipantFaultsRoute(
  app: HttpApp,
  faults: ParticipantFaultInjector,
): void {
  const schema = {
    tags: ["demo"],
    summary: "Replace all faults; what is left out is off",
    body: participantFaultsSchema,
    response: { 200: participantFaultsSchema.describe("The faults in force") },
  };
  const config = { access: "public" } as const;
  app.put("/faults", { config, preHandler: loopbackOnly, schema }, (request) => {
    faults.replace(request.body);
    return request.body;
  });
}
