/**
 * Wherever the shop's process dies or loses an answer in an orchestrated checkout, it comes out as without the
 * fault, in all five databases (law S2). DURE_CRASH_POINTS=all takes every point; otherwise some are drawn.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { explore, formatReport } from "dure/explorer";
import { expect, test } from "vitest";
import { databaseNames } from "./crash-shop.ts";

const isAll = process.env["DURE_CRASH_POINTS"] === "all";

test.for([
  { course: "completed", what: "completed in two phases", countMin: 300 },
  { course: "undone", what: "charged at once, refused by the carrier and undone", countMin: 400 },
  { course: "canceled", what: "completed, and canceled afterwards", countMin: 200 },
])(
  "an order that is $what comes out the same wherever the process dies or loses an answer",
  { timeout: 5_400_000 },
  async ({ course, countMin }) => {
    const report = await explore({
      module: new URL("./checkout.scenario.ts", import.meta.url),
      databases: databaseNames,
      serverUrl: process.env["DURE_TEST_POSTGRES_URL"] ?? "",
      faults: ["crash", "answer-lost"],
      points: isAll ? "all" : 8,
      processMsMax: 180_000,
      execArgv: ["--conditions=dure-source"],
      env: {
        SHOP_COURSE: course,
        // Most of a point's time is the start of the shop's code, twice.
        NODE_COMPILE_CACHE: join(tmpdir(), "dure-shop-compile-cache"),
      },
      onProgress: ({ doneCount, plannedCount, last }) => {
        if (isAll) console.log(`${doneCount}/${plannedCount} ${last.verdict.kind} ${last.name}`);
      },
    });
    if (isAll) console.log(formatReport(report));
    const violated = report.points.filter(({ verdict }) => verdict.kind === "violated");
    expect(violated, formatReport(report)).toEqual([]);
    expect(report.foundCount).toBeGreaterThan(countMin);
  },
);
