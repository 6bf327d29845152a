/** The test command counts what Vitest reports, and nothing that went wrong is lost on the way. */
import { describe, expect, it } from "vitest";
import { isGreen, judge, tableOf, type VitestReport } from "./test.ts";

const run = { exitCode: 0, seconds: 1.25 };

function reportOf(...statuses: readonly string[]): VitestReport {
  const assertionResults = statuses.map((status) => ({
    fullName: `a ${status} test`,
    status,
    meta: status === "skipped" ? { skipReason: "no broker" } : {},
  }));
  const status = statuses.includes("failed") ? "failed" : "passed";
  return { testResults: [{ name: "/x.test.ts", status, assertionResults }] };
}

describe("npm test", () => {
  it("counts by status, takes a todo for a skip, and says why tests were skipped", () => {
    const report = reportOf("passed", "passed", "failed", "skipped", "todo");
    const result = judge("unit", report, { ...run, exitCode: 1 });
    expect(result).toMatchObject({ passed: 2, failed: 1, skipped: 2 });
    expect(result.remarks).toEqual([
      "skipped: a skipped test (no broker)",
      "skipped: a todo test (no reason given)",
    ]);
  });

  it("fails when a suite ran no test, also when all were skipped or there is no report", () => {
    for (const report of [undefined, { testResults: [] }, reportOf("skipped")]) {
      expect(isGreen([judge("unit", report, run)], { isStrict: false })).toBe(false);
    }
  });

  it("fails when a file could not be loaded, and when Vitest failed outside the tests", () => {
    const broken = { name: "/y.test.ts", status: "failed", message: "no", assertionResults: [] };
    const report = { testResults: [...reportOf("passed").testResults, broken] };
    expect(judge("unit", report, run)).toMatchObject({ passed: 1, failed: 1 });
    expect(judge("unit", reportOf("passed"), { ...run, exitCode: 1 })).toMatchObject({ failed: 1 });
    expect(judge("unit", reportOf("passed"), { ...run, exitCode: null }).failed).toBe(1);
  });

  it("accepts skips unless told not to", () => {
    const results = [judge("unit", reportOf("passed", "skipped"), run)];
    expect(isGreen(results, { isStrict: false })).toBe(true);
    expect(isGreen(results, { isStrict: true })).toBe(false);
  });

  it("ends with the totals alone on the last line", () => {
    const results = [
      judge("unit", reportOf("passed", "passed"), run),
      judge("crash", reportOf("passed", "skipped"), run),
    ];
    expect(tableOf(results).split("\n")).toEqual([
      "suite           passed   failed  skipped  seconds",
      "unit                 2        0        0      1.3",
      "crash                1        0        1      1.3",
      "",
      "crash: skipped: a skipped test (no broker)",
      "",
      "3 passed, 0 failed, 1 skipped",
    ]);
  });
});
