/** A contract that cannot be used is refused where it is defined, with the name of what is wrong. */
import { describe, expect, it } from "vitest";
import { describeError } from "./errors.ts";
import { event, validateEvent } from "./event.ts";
import type { StandardResult, StandardSchema } from "./standard-schema.ts";

function schemaOf(
  validate: (value: unknown) => StandardResult<unknown> | Promise<StandardResult<unknown>>,
): StandardSchema {
  return { "~standard": { version: 1, vendor: "test", validate } };
}
const anything = schemaOf((value) => ({ value }));
const options = { version: 1, schema: anything, key: () => "k" };

describe("an event definition", () => {
  it("takes its topic from its type, unless it is told", () => {
    expect(event("order.line.added", options).topic).toBe("order");
    expect(event("order", options).topic).toBe("order");
    expect(event("order.created", { ...options, topic: "sales" }).topic).toBe("sales");
  });

  it("refuses names and versions that cannot travel, and says which", () => {
    const refused = (type: string, more: object = {}) => {
      const define = () => event(type, { ...options, ...more });
      expect(define).toThrow(expect.objectContaining({ code: "CONFIGURATION_INVALID" }));
      return define;
    };
    for (const type of ["", ".created", "Order.created", "a b", "x".repeat(129), "a\n"])
      refused(type);
    expect(refused("order.created", { topic: "a/b" })).toThrow('topic "a/b"');
    for (const version of [0, -1, 1.5, 32_768, Number.NaN]) {
      expect(refused("order.created", { version })).toThrow("version");
    }
  });

  it("cannot be changed afterwards", () => {
    const definition = event("order.created", options);
    expect(() => Object.assign(definition, { version: 2 })).toThrow(TypeError);
  });
});

describe("checking data", () => {
  const failing = {
    issues: [
      { message: "must be positive", path: ["lines", { key: 0 }, "count"] },
      { message: "is no order" },
    ],
  };

  it("names the fields and never their values, at once or after a promise", async () => {
    const now = event("order.created", { ...options, schema: schemaOf(() => failing) });
    const later = event("order.created", { ...options, schema: schemaOf(async () => failing) });
    const expected = {
      code: "EVENT_INVALID",
      message: expect.stringContaining(
        "lines.0.count: must be positive; (root): is no order",
      ) as string,
    };
    expect(() => validateEvent(now, { secret: 7 })).toThrow(expect.objectContaining(expected));
    await expect(validateEvent(later, { secret: 7 })).rejects.toMatchObject(expected);
    expect(
      await validateEvent(
        event("a", { ...options, schema: schemaOf(async () => ({ value: 2 })) }),
        1,
      ),
    ).toBe(2);
  });
});

describe("the line about an error", () => {
  it("is bounded and holds only what a database takes", () => {
    const line = describeError(new Error(`${"x".repeat(489)}\u{1f600}${"y".repeat(100)} \0`));
    expect(line.length).toBeLessThanOrEqual(500);
    expect(line.isWellFormed()).toBe(true);
    expect(describeError(new Error("a\0b"))).toBe("Error: a\u2400b");
    expect(describeError("\ud800")).toBe("\ufffd");
    expect(describeError(undefined)).toBe("undefined");
  });
});
