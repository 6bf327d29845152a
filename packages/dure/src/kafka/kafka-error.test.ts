/** An error is told apart by the protocol's names, however deep they stand. */
import { describe, expect, it } from "vitest";
import { explain, faultOf } from "./kafka-error.ts";

function wrapped(apiId: string): Error {
  const inner = Object.assign(new Error("inner"), { code: "PLT_KFK_PROTOCOL", apiId });
  const response = Object.assign(new AggregateError([inner]), { code: "PLT_KFK_RESPONSE" });
  return Object.assign(new AggregateError([response]), { code: "PLT_KFK_MULTIPLE" });
}

describe("an error of a publication", () => {
  it.each([
    ["MESSAGE_TOO_LARGE", "message"],
    ["NOT_ENOUGH_REPLICAS", "topic"],
    ["TOPIC_AUTHORIZATION_FAILED", "topic"],
    ["SASL_AUTHENTICATION_FAILED", "broker"],
  ])("%s is about the %s", (apiId, about) => {
    expect(faultOf(wrapped(apiId))).toMatchObject({ about, code: apiId });
  });

  it("without a name of the protocol is about the broker", () => {
    const refused = Object.assign(new Error("refused"), { code: "PLT_KFK_NETWORK" });
    expect(faultOf(refused)).toMatchObject({ about: "broker", code: "PLT_KFK_NETWORK" });
    expect(faultOf("what").about).toBe("broker");
  });

  it("is explained by what was in the way, not only by how often it was tried", () => {
    const inner = Object.assign(new Error("SASL authentication failed."), { code: "x" });
    const tried = new AggregateError([inner], "metadata failed 3 times.");
    expect(explain(tried)).toBe(
      "AggregateError: metadata failed 3 times. (SASL authentication failed.)",
    );
    expect(explain(new Error("plain"))).toBe("Error: plain");
  });
});
