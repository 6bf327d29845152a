import { systemClock } from "dure";
import type { Clock } from "dure";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { serviceIssuer, serviceKey } from "./auth-config.ts";
import type { JwksAuthConfig } from "./auth-config.ts";
import { createAuthenticator } from "./auth.ts";
import { ProblemError } from "./problem.ts";
import { delegationHeaders } from "./principal.ts";
import { createServiceTokens } from "./service-token.ts";
import { createTestServer, testAuth, userToken } from "./testing/test-server.ts";

const authenticator = createAuthenticator(testAuth);

const clockAt = (now: () => Date): Clock => ({ ...systemClock, now: () => now().getTime() });

/** The problem that the authenticator throws for a header. */
async function refusal(authorization: string | undefined, by = authenticator) {
  const error: unknown = await by.authenticate(authorization).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ProblemError)) throw new Error("not refused", { cause: error });
  return error;
}

test("a valid token proves its user and roles", async () => {
  const token = await userToken({ userId: "eve", roles: ["merchant", "operator"] });
  expect(await authenticator.authenticate(`Bearer ${token}`)).toEqual({
    userId: "eve",
    roles: ["merchant", "operator"],
  });
});

describe("a token that proves nothing is refused with UNAUTHENTICATED and a challenge", () => {
  const encode = (value: unknown): string =>
    Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: "ada", iss: testAuth.issuer, exp: 4_102_444_800, roles: ["operator"] };

  test.each<[string, () => Promise<string | undefined> | string | undefined]>([
    ["none at all", () => undefined],
    ["an empty header", () => ""],
    ["another scheme", () => "Basic YWRhOnB3"],
    ["no token after the scheme", () => "Bearer "],
    ["no JWT", () => "Bearer abc"],
    ["three meaningless parts", () => "Bearer a.b.c"],
    ["two tokens", async () => `Bearer ${await userToken()} ${await userToken()}`],
    ["alg none", () => `Bearer ${encode({ alg: "none" })}.${encode(claims)}.`],
    ["alg none in capitals", () => `Bearer ${encode({ alg: "NONE" })}.${encode(claims)}.x`],
    ["another secret", async () => `Bearer ${await userToken({ secret: "x".repeat(32) })}`],
    ["another issuer", async () => `Bearer ${await userToken({ issuer: "elsewhere" })}`],
    ["an expired one", async () => `Bearer ${await userToken({ expiresInSeconds: -1 })}`],
    ["an empty user", async () => `Bearer ${await userToken({ userId: "" })}`],
    [
      "a changed payload",
      async () => {
        const [header, , signature] = (await userToken()).split(".");
        return `Bearer ${header}.${encode(claims)}.${signature}`;
      },
    ],
  ])("%s", async (_name, header) => {
    const problem = await refusal(await header());
    expect(problem.code).toBe("UNAUTHENTICATED");
    expect(problem.headers["www-authenticate"]).toMatch(/^Bearer /);
  });

  test("no expiry", async () => {
    const token = await new SignJWT({ roles: ["customer"] })
      .setProtectedHeader({ alg: "HS256" })
      .setIssuer(testAuth.issuer)
      .setSubject("ada")
      .sign(serviceKey(testAuth));
    expect((await refusal(`Bearer ${token}`)).code).toBe("UNAUTHENTICATED");
  });
});

test("a user's token never makes a service, whatever roles it lists", async () => {
  const token = await userToken({ roles: ["service", "customer", "root"] });
  expect(await authenticator.authenticate(`Bearer ${token}`)).toMatchObject({
    roles: ["customer"],
  });
});

test("a service's token is kept, and replaced a minute before it ends", async () => {
  let now = new Date("2026-01-01T00:00:00Z");
  const tokens = createServiceTokens(
    testAuth,
    "order",
    clockAt(() => now),
  );
  const first = await tokens.current();
  now = new Date("2026-01-01T00:08:59Z");
  expect(await tokens.current()).toBe(first);
  now = new Date("2026-01-01T00:09:01Z");
  const second = await tokens.current();
  expect(second).not.toBe(first);
  const at = createAuthenticator(
    testAuth,
    clockAt(() => now),
  );
  expect(await at.authenticate(`Bearer ${second}`)).toEqual({
    userId: "order",
    roles: ["service"],
  });
});

describe("keys published by an issuer", () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  async function jwksAuth(): Promise<{ auth: JwksAuthConfig; sign: () => Promise<string> }> {
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const jwk = { ...(await exportJWK(publicKey)), kid: "1", alg: "ES256" };
    const listening = createServer((_, answer) => answer.end(JSON.stringify({ keys: [jwk] })));
    server = listening;
    await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
    const address = listening.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const auth: JwksAuthConfig = {
      kind: "jwks",
      url: `http://127.0.0.1:${port}/keys`,
      issuer: "https://issuer.example",
      serviceSecret: "a secret of the services, at least 32 bytes",
    };
    const sign = () =>
      new SignJWT({ roles: ["customer", "service"] })
        .setProtectedHeader({ alg: "ES256", kid: "1" })
        .setIssuer(auth.issuer)
        .setSubject("ada")
        .setExpirationTime("1m")
        .sign(privateKey);
    return { auth, sign };
  }

  test("prove users, but services only by their own secret", async () => {
    const { auth, sign } = await jwksAuth();
    const byKeys = createAuthenticator(auth);
    expect(await byKeys.authenticate(`Bearer ${await sign()}`)).toMatchObject({
      roles: ["customer"],
    });
    const service = await createServiceTokens(auth, "payment").current();
    expect(await byKeys.authenticate(`Bearer ${service}`)).toMatchObject({ roles: ["service"] });
    const forged = await new SignJWT({})
      .setProtectedHeader({ alg: "HS256" })
      .setIssuer(auth.issuer)
      .setSubject("ada")
      .setExpirationTime("1m")
      .sign(serviceKey(auth));
    expect((await refusal(`Bearer ${forged}`, byKeys)).code).toBe("UNAUTHENTICATED");
  });

  test("that cannot be read are our trouble, not the token's", async () => {
    const { auth, sign } = await jwksAuth();
    const token = await sign();
    const unreachable = createAuthenticator({ ...auth, url: "http://127.0.0.1:1/keys" });
    expect((await refusal(`Bearer ${token}`, unreachable)).code).toBe("NOT_READY");
  });

  test("and the service issuer cannot be the users' issuer", () => {
    expect(serviceIssuer(testAuth)).not.toBe(testAuth.issuer);
  });
});

describe("routes", () => {
  test("a missing role is FORBIDDEN, a present one is let in", async () => {
    const server = await createTestServer();
    const { app } = server;
    app.get("/all", { config: { access: ["merchant", "operator"] } }, () => ({}));
    const get = async (roles: string[]) => {
      const headers = { authorization: `Bearer ${await userToken({ roles })}` };
      return (await app.inject({ url: "/all", headers })).statusCode;
    };
    expect([await get(["customer"]), await get([]), await get(["operator"])]).toEqual([
      403, 403, 200,
    ]);
    await server.stop();
  });

  test("a server for services answers 401 to users, and acts for the user a service names", async () => {
    const server = await createTestServer({ callers: "services" });
    const { app } = server;
    app.get("/mine", { config: { access: ["customer"] } }, (request) => request.principal);
    app.get("/inner", { config: { access: "service" } }, (request) => request.principal);
    const user = `Bearer ${await userToken()}`;
    const service = `Bearer ${await createServiceTokens(testAuth, "gateway").current()}`;
    const get = (url: string, authorization: string, extra: Record<string, string> = {}) =>
      app.inject({ url, headers: { authorization, ...extra } });
    expect((await get("/mine", user)).statusCode).toBe(401);
    expect((await get("/inner", user)).statusCode).toBe(401);
    expect((await get("/mine", service)).statusCode).toBe(403);
    expect((await get("/inner", service)).json()).toEqual({
      userId: "gateway",
      roles: ["service"],
    });
    const ada = { userId: "Ada Łovelace, 100%", roles: ["customer"] as const };
    expect((await get("/mine", service, delegationHeaders(ada))).json()).toEqual(ada);
    const greedy = { "x-user-id": "ada", "x-user-roles": "service,root" };
    expect((await get("/mine", service, greedy)).statusCode).toBe(403);
    expect((await get("/mine", service, { "x-user-id": "%ZZ" })).statusCode).toBe(400);
    await server.stop();
  });

  test("a user cannot act for another by sending the headers of a service", async () => {
    const server = await createTestServer();
    const { app } = server;
    app.get("/mine", { config: { access: ["customer"] } }, (request) => request.principal);
    const authorization = `Bearer ${await userToken()}`;
    const headers = { authorization, "x-user-id": "eve", "x-user-roles": "operator" };
    expect((await app.inject({ url: "/mine", headers })).json()).toMatchObject({ userId: "ada" });
    await server.stop();
  });
});
