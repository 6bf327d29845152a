import { systemClock } from "dure";
import type { Clock } from "dure";
import { SignJWT } from "jose";
import { serviceIssuer, serviceKey } from "./auth-config.ts";
import type { AuthConfig } from "./auth-config.ts";
import type { ServiceName } from "./config.ts";

/** Hands out the token that a service shows to other services. */
export interface ServiceTokens {
  /** A token that is good for at least another minute. */
  current(): Promise<string>;
}

const lifetimeSeconds = 600;
const refreshBeforeMs = 60_000;

/** Signs a token when the last one nears its end, and otherwise gives the same one again. */
export function createServiceTokens(
  auth: AuthConfig,
  service: ServiceName,
  clock: Clock = systemClock,
): ServiceTokens {
  let token: Promise<string> | undefined;
  let refreshAtMs = 0;
  return {
    current() {
      const nowMs = clock.now();
      if (token === undefined || nowMs >= refreshAtMs) {
        token = sign(auth, service, nowMs);
        refreshAtMs = nowMs + lifetimeSeconds * 1000 - refreshBeforeMs;
      }
      return token;
    },
  };
}

function sign(auth: AuthConfig, service: ServiceName, nowMs: number): Promise<string> {
  const issuedAt = Math.floor(nowMs / 1000);
  return new SignJWT({ roles: ["service"] })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setIssuer(serviceIssuer(auth))
    .setSubject(service)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + lifetimeSeconds)
    .sign(serviceKey(auth));
}
