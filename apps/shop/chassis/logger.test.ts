import { expect, test } from "vitest";
import { createAuthenticator } from "./auth.ts";
import { createHttpServer } from "./http-server.ts";
import { createLogger } from "./logger.ts";
import { testAuth, userToken } from "./testing/test-server.ts";

test("a request is one line with id, trace, status and time, and nothing that it carried", async () => {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const logger = createLogger({ service: "order", level: "info", destination });
  const authenticator = createAuthenticator(testAuth);
  const server = await createHttpServer({
    service: "order",
    description: "A server under test.",
    logger,
    authenticator,
    callers: "users",
  });
  server.app.post("/orders", { config: { access: ["customer"] } }, () => {
    throw Object.assign(new Error("duplicate key"), { code: "23505", detail: "Key (card)=(4242)" });
  });
  const token = await userToken();
  const headers = { authorization: `Bearer ${token}`, "x-request-id": "R-1" };
  const payload = { card: "4242" };
  await server.app.inject({ method: "POST", url: "/orders?secret=1", headers, payload });
  await server.app.inject({ url: "/healthz" });
  await server.stop();

  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(entries).toMatchObject([
    { level: "error", service: "order", requestId: "R-1", err: { code: "23505" } },
    { level: "info", requestId: "R-1", method: "POST", path: "/orders", status: 500 },
  ]);
  expect(entries[1]).toHaveProperty("traceId", entries[0]?.["traceId"]);
  expect(entries[1]).toHaveProperty("ms");
  for (const secret of [token, "4242", "secret"]) expect(lines.join()).not.toContain(secret);
});
