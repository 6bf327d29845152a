/** The crash explorer finds what a crash breaks, names the place, and says what it could not reach. DURE_CRASH_POINTS=all takes every point of Dure's own round trip. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  type ExplorationReport,
  explore,
  type ExploreOptions,
  formatReport,
} from "../../src/explorer/index.ts";

const folder: string = mkdtempSync(join(tmpdir(), "dure-explorer-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function exploreScenario(
  name: string,
  options: Omit<ExploreOptions, "module"> = {},
): Promise<ExplorationReport> {
  const serverUrl = process.env["DURE_TEST_POSTGRES_URL"] ?? "";
  const module = new URL(`./scenarios/${name}.scenario.ts`, import.meta.url);
  return explore({ module, serverUrl, execArgv: ["--conditions=dure-source"], ...options });
}

/** The report's own words for the points of that verdict. */
function pointsWith(report: ExplorationReport, kind: string): readonly string[] {
  const pattern = new RegExp(`^${kind} +[\\d.]+ s {2}(.*)$`, "gm");
  return [...formatReport(report).matchAll(pattern)].map(([, point]) => point ?? "");
}

describe("a dual write", { timeout: 120_000 }, () => {
  it("is found between the commit and the broker, and nowhere else", async () => {
    const report = await exploreScenario("dual-write", { faults: ["crash", "answer-lost"] });
    expect(report).toMatchObject({ verdict: "violated", exitCode: 1 });
    expect(pointsWith(report, "violated")).toEqual([
      "killed after commit",
      "answer lost of commit",
      "killed before broker.publish",
    ]);
    expect(pointsWith(report, "held")).toHaveLength(report.points.length - 3);
    expect(formatReport(report)).toContain("everyOrderIsTold: nobody was told of order o-1");
  });
});

describe("two steps without a journal", { timeout: 120_000 }, () => {
  it("charge twice when the process dies after the charge", async () => {
    const report = await exploreScenario("two-steps", { faults: ["crash", "answer-lost"] });
    expect(report.verdict).toBe("violated");
    expect(pointsWith(report, "violated")).toEqual([
      "killed after provider.charge",
      "answer lost of provider.charge",
      "killed before insert into orders (id, charge) values ('…', $1)",
    ]);
    expect(formatReport(report)).toContain("nothingTwice: the card was charged 2 times");
    expect(formatReport(report)).toContain("has nothing to show for it");
  });

  it("charge once where the provider gets the same key again", async () => {
    const env = { TWO_STEPS_KEY: "order" };
    const report = await exploreScenario("two-steps", { env, faults: ["crash", "answer-lost"] });
    expect(formatReport(report)).toMatch(/^held: 7 of 7 points/);
  });
});

describe("Dure's round trip from outbox to inbox", { timeout: 3_600_000 }, () => {
  it("comes out the same wherever its process dies or loses an answer", async () => {
    const isAll = process.env["DURE_CRASH_POINTS"] === "all";
    const report = await exploreScenario("round-trip", {
      faults: ["crash", "answer-lost"],
      points: isAll ? "all" : 10,
      onProgress: ({ doneCount, plannedCount, last }) => {
        if (isAll) console.log(`${doneCount}/${plannedCount} ${last.verdict.kind} ${last.name}`);
      },
    });
    if (isAll) console.log(formatReport(report));
    expect(pointsWith(report, "violated"), formatReport(report)).toEqual([]);
    expect(report.foundCount).toBeGreaterThan(100);
  });
});

describe("a point that is never reached", { timeout: 60_000 }, () => {
  it("is tried twice and reported, and the report is not green", async () => {
    const env = { FLEETING_FILE: join(folder, "runs") };
    const report = await exploreScenario("fleeting", { env, parallelism: 1 });
    expect(report).toMatchObject({ verdict: "incomplete", exitCode: 2 });
    expect(pointsWith(report, "held")).toEqual(["killed at always"]);
    expect(pointsWith(report, "not-reached")).toEqual(["killed at fleeting"]);
    expect(formatReport(report)).toContain("tried 2 times; the scenario ended without it");
  });
});
