import { systemClock } from "dure";
import type { Clock } from "dure";
import { SignJWT } from "jose";
import { serviceKey } from "../chassis/auth-config.ts";
import type { DemoAuthConfig } from "../chassis/auth-config.ts";
import type { HttpApp } from "../chassis/http-app.ts";
import { demoTokenRequestSchema, demoTokenSchema } from "../contracts/http/demo-token.ts";
import type { DemoTokenRequest } from "../contracts/http/demo-token.ts";

const lifetimeSeconds = 3600;

/** Gives a token to whoever asks, for whatever user: exists in demo mode only. */
export function registerDemoRoutes(
  app: HttpApp,
  auth: DemoAuthConfig,
  clock: Clock = systemClock,
): void {
  const schema = {
    tags: ["demo"],
    summary: "Get a token for an hour",
    body: demoTokenRequestSchema,
    response: { 200: demoTokenSchema.describe("A bearer token") },
  };
  app.post("/demo/token", { config: { access: "public" }, schema }, async (request) => ({
    token: await sign(auth, request.body, clock.now()),
  }));
}

function sign(auth: DemoAuthConfig, request: DemoTokenRequest, nowMs: number): Promise<string> {
  const issuedAt = Math.floor(nowMs / 1000);
  return new SignJWT({ roles: request.roles ?? ["customer"] })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setIssuer(auth.issuer)
    .setSubject(request.userId)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + lifetimeSeconds)
    .sign(serviceKey(auth));
}
