import { createHash } from "node:crypto";
import { z } from "zod";
import {
  captureSchema,
  cardPaymentSchema,
  operationOutcomeSchema,
  providerAnswerSchema,
  refundSchema,
  voidSchema,
} from "../contracts/http/provider.ts";
import type { CardToken, ProviderOperation } from "../contracts/http/provider.ts";
import { keySchema } from "../contracts/http/fields.ts";
import { compensatedKeyOf } from "../chassis/compensates.ts";
import type { HttpApp } from "../chassis/http-app.ts";
import { idempotencyKeyOf } from "../chassis/idempotency-key.ts";
import type { OperationRequest } from "./domain.ts";
import type { Operations } from "./operations.ts";
import type { Weather } from "./weather.ts";

/** The five operations on money, and the question what became of one. */
export function registerOperationRoutes(
  app: HttpApp,
  operations: Operations,
  weather: Weather,
): void {
  const schema = (summary: string) => ({
    tags: ["operations on money"],
    summary,
    response: { 200: providerAnswerSchema.describe("Approved or declined") },
  });
  const config = { access: "service", idempotencyKey: true } as const;
  const undoing = { ...config, compensates: true } as const;
  const execute = (request: OperationRequest, token?: CardToken) => async () => {
    const { answer, isReplayed } = await operations.execute(request);
    return { body: answer, isReplayed, isSlow: token === "tok_timeout" && !isReplayed };
  };

  for (const kind of ["authorize", "charge"] as const) {
    const summary = kind === "authorize" ? "Hold money of a card" : "Take money from a card";
    const route = { config, schema: { ...schema(summary), body: cardPaymentSchema } };
    app.post(`/${kind}`, route, (request, reply) => {
      const { token } = request.body;
      return weather.endure(reply, execute(requestOf(kind, request, request.body), token));
    });
  }

  const captureRoute = { config, schema: { ...schema("Take held money"), body: captureSchema } };
  app.post("/capture", captureRoute, (request, reply) => {
    const asked = requestOf("capture", request, request.body, request.body.authorizationKey);
    return weather.endure(reply, execute(asked));
  });

  const voidRoute = { config: undoing, schema: { ...schema("Let go"), body: voidSchema } };
  app.post("/void", voidRoute, (request, reply) => {
    const asked = requestOf("void", request, request.body, compensatedKeyOf(request));
    return weather.endure(reply, execute(asked));
  });

  const refundRoute = { config: undoing, schema: { ...schema("Give back"), body: refundSchema } };
  app.post("/refund", refundRoute, (request, reply) => {
    const asked = requestOf("refund", request, request.body, compensatedKeyOf(request));
    return weather.endure(reply, execute(asked));
  });

  const outcomeSchema = {
    tags: ["operations on money"],
    summary: "What became of an operation",
    params: z.strictObject({ key: keySchema }),
    response: { 200: operationOutcomeSchema.describe("What is known about the key") },
  };
  const outcomeRoute = { config: { access: "service" }, schema: outcomeSchema } as const;
  app.get("/operations/:key", outcomeRoute, (request, reply) =>
    weather.endure(reply, async () => ({
      body: await operations.outcomeOf(request.params.key),
      isReplayed: false,
      isSlow: false,
    })),
  );
}

type Request = Parameters<typeof idempotencyKeyOf>[0];

interface OperationBody {
  readonly orderId: string;
  readonly amount?: number;
  readonly token?: CardToken;
}

function requestOf(
  kind: ProviderOperation,
  request: Request,
  body: OperationBody,
  forwardKey?: string,
): OperationRequest {
  return {
    key: idempotencyKeyOf(request),
    kind,
    orderId: body.orderId,
    ...(body.amount === undefined ? {} : { amount: body.amount }),
    ...(body.token === undefined ? {} : { token: body.token }),
    ...(forwardKey === undefined ? {} : { forwardKey }),
    fingerprint: fingerprintOf([kind, forwardKey ?? null, body]),
  };
}

/** The schemas give parsed bodies their own order of fields, so equal requests are equal text. */
function fingerprintOf(parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
