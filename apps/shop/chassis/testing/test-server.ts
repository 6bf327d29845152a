import { SignJWT } from "jose";
import { serviceKey } from "../auth-config.ts";
import type { DemoAuthConfig } from "../auth-config.ts";
import { createAuthenticator } from "../auth.ts";
import { createHttpServer } from "../http-server.ts";
import type { HttpServer, HttpServerOptions } from "../http-server.ts";
import { createLogger } from "../logger.ts";

/** The issuer that tests believe. */
export const testAuth: DemoAuthConfig = {
  kind: "demo",
  secret: "a secret of the tests, at least 32 bytes long",
  issuer: "shop-tests",
};

/** What a test wants its token to say; the defaults make a valid customer. */
export interface TestToken {
  readonly userId?: string;
  readonly roles?: readonly string[];
  readonly issuer?: string;
  readonly secret?: string;
  readonly expiresInSeconds?: number;
}

/** A signed user token. */
export async function userToken(options: TestToken = {}): Promise<string> {
  const nowSeconds = Math.floor(new Date().getTime() / 1000);
  return new SignJWT({ roles: options.roles ?? ["customer"] })
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer(options.issuer ?? testAuth.issuer)
    .setSubject(options.userId ?? "ada")
    .setExpirationTime(nowSeconds + (options.expiresInSeconds ?? 60))
    .sign(serviceKey({ ...testAuth, secret: options.secret ?? testAuth.secret }));
}

/** A silent server that believes `testAuth`; the test adds its routes. */
export function createTestServer(options: Partial<HttpServerOptions> = {}): Promise<HttpServer> {
  return createHttpServer({
    service: "order",
    description: "A server under test.",
    logger: createLogger({ service: "order", level: "silent" }),
    authenticator: createAuthenticator(testAuth),
    callers: "users",
    ...options,
  });
}
