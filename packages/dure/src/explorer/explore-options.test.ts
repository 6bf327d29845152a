/** Options that cannot be used are refused at once, all of them. */
import { expect, it } from "vitest";
import { exploreSettings } from "./explore-options.ts";

it("names every mistake", () => {
  const attempt = () =>
    exploreSettings({
      module: "./checkout.scenario.ts",
      faults: [],
      points: 0,
      seed: -1,
      parallelism: 0,
      processMsMax: 5,
      databases: ["Order", "Order"],
    });
  const names = "module|faults|points|seed|parallelism|processMsMax|databases".split("|");
  for (const name of names) expect(attempt).toThrow(new RegExp(`\\b${name}: `));
  expect(attempt).toThrow(expect.objectContaining({ code: "CONFIGURATION_INVALID" }));
});

it("has a default for everything but the module", () => {
  const { faults, points, parallelism, databases } = exploreSettings({
    module: new URL("file:///a.ts"),
  });
  expect({ faults, points, parallelism, databases }).toEqual({
    faults: ["crash"],
    points: "all",
    parallelism: 2,
    databases: ["main"],
  });
});
