import { describe, expect, test } from "vitest";
import { idempotencyKeyFrom, idempotencyKeyOf } from "./idempotency-key.ts";
import { createTestServer } from "./testing/test-server.ts";

const read = (...rawHeaders: string[]) => idempotencyKeyFrom({ rawHeaders });

test.each([
  ["bare", ["Idempotency-Key", "checkout-1"], "checkout-1"],
  ["a structured-field string", ["Idempotency-Key", '"checkout-1"'], "checkout-1"],
  ["escapes", ["idempotency-key", '"a\\"b\\\\c"'], 'a"b\\c'],
  ["the other header", ["X-Idempotency-Key", "checkout-1"], "checkout-1"],
  ["both headers that agree", ["Idempotency-Key", '"k"', "X-Idempotency-Key", "k"], "k"],
  ["255 characters", ["Idempotency-Key", "k".repeat(255)], "k".repeat(255)],
  ["a comma in the key", ["Idempotency-Key", "a,b"], "a,b"],
  [
    "the name as another header's value",
    ["X-Note", "Idempotency-Key", "Idempotency-Key", "k"],
    "k",
  ],
])("the key is read: %s", (_name, headers, key) => {
  expect(read(...headers)).toBe(key);
});

describe("what is no key is refused", () => {
  test.each([
    ["nothing", []],
    ["another header", ["Idempotency", "k"]],
  ])("missing: %s", (_name, headers) => {
    expect(() => read(...headers)).toThrow("IDEMPOTENCY_KEY_MISSING");
  });

  test.each([
    ["empty", ""],
    ["empty in quotes", '""'],
    ["256 characters", "k".repeat(256)],
    ["an open quote", '"abc'],
    ["something after the quote", '"abc"; x=1'],
    ["an unknown escape", '"a\\bc"'],
    ["not ASCII", "caf\u00e9"],
    ["a tab", "a\tb"],
  ])("invalid: %s", (_name, value) => {
    expect(() => read("Idempotency-Key", value)).toThrow("IDEMPOTENCY_KEY_INVALID");
  });

  test("invalid: two different keys", () => {
    const repeated = ["Idempotency-Key", "a", "Idempotency-Key", "b"];
    expect(() => read(...repeated)).toThrow("IDEMPOTENCY_KEY_INVALID");
  });
});

test("a route that declares a key gets it, and a request without one is refused", async () => {
  const server = await createTestServer();
  const { app } = server;
  app.post("/pay", { config: { access: "public", idempotencyKey: true } }, (request) => ({
    key: idempotencyKeyOf(request),
  }));
  const headers = { "idempotency-key": '"k 1"' };
  expect((await app.inject({ method: "POST", url: "/pay", headers })).json()).toEqual({
    key: "k 1",
  });
  const without = await app.inject({ method: "POST", url: "/pay" });
  expect(without.json()).toMatchObject({ status: 400, code: "IDEMPOTENCY_KEY_MISSING" });
  await server.stop();
});
