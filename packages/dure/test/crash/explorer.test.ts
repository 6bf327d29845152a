/** The crash explorer finds what a crash breaks, names the place, and says what it could not reach. DURE_CRASH_POINTS=all takes every point of Dure's own round trip. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import pg from "pg";
import {
  createEffectLedger,
  type ExplorationReport,
  explore,
  type ExploreOptions,
  formatReport,
} from "../../src/explorer/index.ts";
import { createTestDatabase } from "../support/test-database.ts";

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

describe("two sagas, one completed and one undone", { timeout: 3_600_000 }, () => {
  it("come out the same wherever their process dies or loses an answer", async () => {
    const isAll = process.env["DURE_CRASH_POINTS"] === "all";
    const report = await exploreScenario("checkout", {
      faults: ["crash", "answer-lost"],
      points: isAll ? "all" : 10,
    });
    if (isAll) console.log(formatReport(report));
    expect(pointsWith(report, "violated"), formatReport(report)).toEqual([]);
    expect(report.foundCount).toBeGreaterThan(100);
  });
});

describe("a choreographed flow", { timeout: 3_600_000 }, () => {
  it("is followed to the same end wherever the process dies or loses an answer", async () => {
    const isAll = process.env["DURE_CRASH_POINTS"] === "all";
    const report = await exploreScenario("flow", {
      faults: ["crash", "answer-lost"],
      points: isAll ? "all" : 10,
    });
    if (isAll) console.log(formatReport(report));
    expect(pointsWith(report, "violated"), formatReport(report)).toEqual([]);
    expect(report.foundCount).toBeGreaterThan(100);
  });
});

describe("requests with keys", { timeout: 3_600_000 }, () => {
  it("come out the same wherever their process dies or loses an answer", async () => {
    const isAll = process.env["DURE_CRASH_POINTS"] === "all";
    const report = await exploreScenario("keyed", {
      faults: ["crash", "answer-lost"],
      points: isAll ? "all" : 10,
    });
    if (isAll) console.log(formatReport(report));
    expect(pointsWith(report, "violated"), formatReport(report)).toEqual([]);
    expect(report.foundCount).toBeGreaterThan(30);
  });
});

describe("a point that is never reached", { timeout: 60_000 }, () => {
  it("is tried twice and reported, and the report is not green", async () => {
    const env = { FLEETING_FILE: join(folder, "runs") };
    const report = await exploreScenario("fleeting", { env, parallelism: 1 });
    expect(report).toMatchObject({ verdict: "incomplete", exitCode: 2 });
    expect(pointsWith(report, "held")).toEqual(["killed at always"]);
    expect(pointsWith(report, "not-reached")).toEqual(["killed at fleeting"]);
    expect(formatReport(report)).toContain(
      "tried 2 times; the last time it ended, and came by fleeting 0 times",
    );
  });
});

describe("a scenario of which nothing can be learnt", { timeout: 60_000 }, () => {
  it.each([
    ["prepare", "prepare: Error: no tables"],
    ["scenario", "the run without a fault: Error: no stock"],
    ["death", "the run without a fault: its process ended early"],
    ["idle", "it came by no crash point"],
    ["recover", "the recovery without a fault: Error: no way back"],
    ["observe", "two runs without a fault came out differently: id: "],
    ["invariant", "an invariant does not hold without a fault: alwaysTrue: it is not"],
  ])("because of its %s is refused, in words that help", async (wrong, message) => {
    const refused = exploreScenario("wrong", { env: { WRONG: wrong } });
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toMatchObject({ code: "SCENARIO_FAILED" });
  });

  it("because it is not there is refused, with the reason", async () => {
    await expect(exploreScenario("missing")).rejects.toThrow("Cannot find module");
  });
});

describe("a scenario that hangs after a lost answer", { timeout: 60_000 }, () => {
  it("is killed at the limit, and that is a violation", async () => {
    const report = await exploreScenario("wrong", {
      env: { WRONG: "hangs" },
      faults: ["answer-lost"],
      processMsMax: 3_000,
    });
    expect(pointsWith(report, "violated")).toEqual(["answer lost of asked"]);
    expect(formatReport(report)).toContain("scenario: it was not done after 3000 ms");
  });
});

describe("an exploration", { timeout: 120_000 }, () => {
  it("that is aborted says why, and leaves no database and no process", async () => {
    const aborting = new AbortController();
    const reason = new Error("enough");
    const exploring = exploreScenario("dual-write", {
      signal: aborting.signal,
      databases: ["aborted"],
      onProgress: () => aborting.abort(reason),
    });
    await expect(exploring).rejects.toBe(reason);
    const client = new pg.Client({ connectionString: process.env["DURE_TEST_POSTGRES_URL"] });
    await client.connect();
    const { rows } = await client.query(
      "select datname from pg_database where datname like 'dure_explorer_%_aborted_%'",
    );
    await client.end();
    expect(rows).toEqual([]);
    const handles = process.getActiveResourcesInfo().filter((name) => name === "ProcessWrap");
    expect(handles).toEqual([]);
  });

  it("brings its own server, and looks only where it is told to", async () => {
    const module = new URL("./scenarios/dual-write.scenario.ts", import.meta.url);
    const report = await explore({
      module,
      execArgv: ["--conditions=dure-source"],
      only: ({ name, when }) => name === "commit" && when === "before",
      databases: ["shop", "payment"],
    });
    expect(formatReport(report)).toMatch(/^held: 1 of 12 points/);
  });
});

describe("the effect ledger", () => {
  it("finds what is there twice, what is owed, and what was undone for nothing", async () => {
    await using database = await createTestDatabase({ name: "ledger", migrate: false });
    const ledger = createEffectLedger({ pool: database.pool });
    await ledger.prepare();
    await ledger.prepare();
    const charge = (key: string) => ({ name: "charge", key });
    for (const key of ["kept", "undone", "owed", "twice", "twice", "both"]) {
      await ledger.record(charge(key));
    }
    for (const key of ["undone", "both", "never"]) await ledger.recordUndo(charge(key));
    expect((await ledger.list()).at(-1)).toEqual({ name: "charge", key: "never", isUndo: true });
    expect(await ledger.nothingTwice()).toEqual(["charge of twice is there 2 times"]);
    const isKept = ({ key }: { key: string }) => ["kept", "twice", "both"].includes(key);
    expect(await ledger.nothingOwed(isKept)).toEqual([
      "charge of owed was not undone and has nothing to show for it",
      "charge of both was undone and should be there",
      "charge of never was undone and had not been done",
    ]);
  });
});
