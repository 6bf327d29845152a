import { systemClock } from "dure";
import type { Clock } from "dure";
import { createRemoteJWKSet, decodeJwt, errors, jwtVerify } from "jose";
import type { JWTPayload, JWTVerifyOptions } from "jose";
import { serviceIssuer, serviceKey } from "./auth-config.ts";
import type { AuthConfig } from "./auth-config.ts";
import { knownUserRoles } from "./principal.ts";
import type { Principal } from "./principal.ts";
import { ProblemError } from "./problem.ts";

/** Tells who a bearer token belongs to. */
export interface Authenticator {
  /**
   * @param authorization the Authorization header as it came
   * @throws ProblemError UNAUTHENTICATED for every token that proves nothing, NOT_READY when the
   *   issuer's keys cannot be had at the moment
   */
  authenticate(authorization: string | undefined): Promise<Principal>;
}

/**
 * Believes tokens of the configured issuer and of the shop's services. The algorithms are fixed
 * per issuer, so a token cannot choose how it is checked (`alg: none`, or HS256 with a public key).
 */
export function createAuthenticator(auth: AuthConfig, clock: Clock = systemClock): Authenticator {
  const verifyUser = userVerifier(auth, clock);
  const verifyService = serviceVerifier(auth, clock);
  return {
    async authenticate(authorization) {
      const token = bearerToken(authorization);
      try {
        // The issuer is not proven yet; it only selects the key that must prove it.
        const isService = decodeJwt(token).iss === serviceIssuer(auth);
        return await (isService ? verifyService(token) : verifyUser(token));
      } catch (error) {
        throw tokenProblem(error);
      }
    },
  };
}

type Verify = (token: string) => Promise<Principal>;

function userVerifier(auth: AuthConfig, clock: Clock): Verify {
  const options = (): JWTVerifyOptions => ({
    issuer: auth.issuer,
    currentDate: new Date(clock.now()),
    requiredClaims: ["sub", "exp"],
    algorithms: auth.kind === "demo" ? ["HS256"] : asymmetricAlgorithms,
    ...(auth.kind === "jwks" && auth.audience !== undefined ? { audience: auth.audience } : {}),
  });
  if (auth.kind === "demo") {
    const key = serviceKey(auth);
    return async (token) => userPrincipal((await jwtVerify(token, key, options())).payload);
  }
  const keys = createRemoteJWKSet(new URL(auth.url));
  return async (token) => userPrincipal((await jwtVerify(token, keys, options())).payload);
}

function serviceVerifier(auth: AuthConfig, clock: Clock): Verify {
  const key = serviceKey(auth);
  return async (token) => {
    const { payload } = await jwtVerify(token, key, {
      issuer: serviceIssuer(auth),
      currentDate: new Date(clock.now()),
      requiredClaims: ["sub", "exp"],
      algorithms: ["HS256"],
    });
    return { userId: subjectOf(payload), roles: ["service"] };
  };
}

const asymmetricAlgorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

function userPrincipal(payload: JWTPayload): Principal {
  const roles: unknown = payload["roles"];
  return { userId: subjectOf(payload), roles: knownUserRoles(Array.isArray(roles) ? roles : []) };
}

function subjectOf(payload: JWTPayload): string {
  // NUL could not be stored, and an empty id would own everybody's anonymous things.
  if (typeof payload.sub !== "string" || payload.sub === "" || payload.sub.includes("\0")) {
    throw unauthenticated("The token names no user.");
  }
  return payload.sub;
}

function bearerToken(authorization: string | undefined): string {
  if (authorization === undefined) throw unauthenticated("Send a bearer token.", false);
  const token = /^Bearer +([A-Za-z0-9._~+/=-]+) *$/i.exec(authorization)?.[1];
  if (token === undefined) throw unauthenticated("The Authorization header holds no bearer token.");
  return token;
}

function tokenProblem(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error;
  if (error instanceof errors.JWTExpired) return unauthenticated("The token has expired.");
  const isTokenFault = error instanceof errors.JOSEError && !keysUnavailable.has(error.code);
  // decodeJwt reports what is no JWT at all as a JOSEError too; anything else is the key server.
  if (isTokenFault) return unauthenticated("The token is not valid.");
  return new ProblemError("NOT_READY", "The keys of the token issuer cannot be read.", {
    cause: error,
    retryAfterMs: 1000,
  });
}

const keysUnavailable: ReadonlySet<string> = new Set([
  "ERR_JWKS_TIMEOUT",
  "ERR_JWKS_INVALID",
  "ERR_JOSE_GENERIC",
]);

function unauthenticated(detail: string, tokenGiven = true): ProblemError {
  // RFC 6750: no error code for a caller that showed no token.
  const challenge = tokenGiven
    ? 'Bearer realm="shop", error="invalid_token"'
    : 'Bearer realm="shop"';
  return new ProblemError("UNAUTHENTICATED", detail, {
    headers: { "www-authenticate": challenge },
  });
}
