/** Two different inputs of a policy, or of two policies, never give one key, and no key is longer than 255 (C2). */
import { array, assert, constantFrom, oneof, property, record, string, tuple } from "fast-check";
import { describe, expect, it } from "vitest";
import { readIdempotencyKey } from "./idempotency-key.ts";
import {
  cartKey,
  checkoutKey,
  clientKey,
  newSagaId,
  requestKey,
  sagaIdOf,
  stepKey,
  windowKey,
} from "./key-policies.ts";

/** Few names, made of what could be mistaken for the next part: so few that all that can collide, does. */
const text = oneof(
  string({ minLength: 1, maxLength: 3, unit: constantFrom("a", "-") }),
  constantFrom("%", "%2D", "%25", "1", "a-1", "é", " ", "/"),
);
const n = constantFrom(0, 1, 11);
const windowMs = constantFrom(1, 11, 60_000);
const at = constantFrom(0, 1, 11, 120_000).map((ms) => new Date(ms));
const wordText = string({ minLength: 1, maxLength: 2, unit: constantFrom("a", ".") });
const sagaText = string({ minLength: 1, maxLength: 3, unit: constantFrom("a", "-") });

const inputs = oneof(
  tuple(constantFrom("checkout"), text).map(([kind, session]) => ({
    same: JSON.stringify([kind, session]),
    key: (): string => checkoutKey(session),
  })),
  record({ cartId: text, version: n }).map((cart) => ({
    same: JSON.stringify(["cart", cart.cartId, cart.version]),
    key: (): string => cartKey(cart),
  })),
  record({ userId: text, productId: text, at, windowMs }).map((parts) => ({
    same: JSON.stringify([
      "window",
      parts.userId,
      parts.productId,
      parts.windowMs,
      Math.floor(parts.at.getTime() / parts.windowMs),
    ]),
    key: (): string => windowKey(parts),
  })),
  tuple(sagaText, wordText, wordText).map(([saga, service, action]) => ({
    same: JSON.stringify(["step", saga, service, action]),
    key: (): string => stepKey(sagaIdOf(`SAGA-${saga}`), { service, action }),
  })),
);

describe("the key of a policy", () => {
  it("is another for any other input, of whichever policy", () => {
    const many = array(inputs, { minLength: 300, maxLength: 600, size: "max" });
    assert(
      property(many, (drawn) => {
        const keys = new Map<string, string>();
        for (const { same, key } of drawn) {
          expect(keys.get(key()) ?? same).toBe(same);
          keys.set(key(), same);
        }
        expect(keys.size).toBe(new Set(drawn.map(({ same }) => same)).size);
      }),
    );
  });

  it("survives the trip in a header, quoted or bare", () => {
    assert(
      property(inputs, (input) => {
        const key = input.key();
        expect(key.length).toBeLessThanOrEqual(255);
        expect(readIdempotencyKey((name) => (name === "idempotency-key" ? [key] : []))).toEqual({
          kind: "key",
          key,
        });
      }),
    );
  });

  it("has the documented format", () => {
    const sagaId = sagaIdOf("SAGA-01K");
    const parts = { userId: "u-1", productId: "p", at: new Date(120_000), windowMs: 60_000 };
    expect([
      checkoutKey("5f1-9"),
      cartKey({ cartId: "c-1", version: 3 }),
      windowKey(parts),
      stepKey(sagaId, { service: "payment", action: "charge" }),
    ]).toEqual([
      "checkout-5f1-9",
      "cart-c-1-3",
      "window-u%2D1-p-60000-2",
      "SAGA-01K-payment-charge",
    ]);
    const request = { method: "POST", route: "/orders", principal: "u", content: { a: 1, b: 2 } };
    expect(requestKey(request)).toMatch(/^request-[\da-f]{32}$/);
    expect(requestKey({ ...request, content: { b: 2, a: 1 } })).toBe(requestKey(request));
    expect(requestKey({ ...request, principal: "v" })).not.toBe(requestKey(request));
  });

  it("of a time window is one within it and another outside", () => {
    const key = (ms: number): string =>
      windowKey({ userId: "u", productId: "p", at: new Date(ms), windowMs: 1_000 });
    expect(key(1_999)).toBe(key(1_000));
    expect(key(2_000)).not.toBe(key(1_999));
  });
});

describe("what is no key is refused", () => {
  it.each<[string, () => unknown]>([
    ["nothing", () => checkoutKey("")],
    ["half a character", () => checkoutKey("\ud800")],
    ["too long", () => checkoutKey("x".repeat(247))],
    ["too long when it is encoded", () => checkoutKey("é".repeat(50))],
    ["a version that is none", () => cartKey({ cartId: "c", version: -1 })],
    [
      "a time that is none",
      () => windowKey({ userId: "u", productId: "p", at: new Date("no"), windowMs: 1 }),
    ],
    [
      "a window of no length",
      () => windowKey({ userId: "u", productId: "p", at: new Date(0), windowMs: 0 }),
    ],
    ["a saga's id as a client's key", () => clientKey(newSagaId())],
    ["a client's key as a saga's id", () => sagaIdOf(checkoutKey("s"))],
    ["a dash in an action", () => stepKey(newSagaId(), { service: "payment", action: "a-b" })],
    ["a space around a key", () => clientKey(" k")],
  ])("%s", (_name, make) => {
    expect(make).toThrow(expect.objectContaining({ code: "KEY_INVALID" }));
  });

  it("and the longest that is one is not", () => {
    expect(checkoutKey("x".repeat(246))).toHaveLength(255);
  });
});
