// Runs every test suite and ends with a table: `npm test [-- [--no-skips] [suite…]]`.
import { spawn } from "node:child_process";
import { glob, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { installOutside } from "./outside.ts";

/** What a suite came to. A suite that could not be run at all counts as one failure. */
export interface SuiteResult {
  readonly suite: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** Why tests were skipped, or why the suite failed beyond its tests. */
  readonly remarks: readonly string[];
  readonly files: readonly string[];
}

/** The part of Vitest's JSON report that is read here. */
export interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      /** A test that must skip says why by `context.task.meta.skipReason = "…"`. */
      readonly meta?: { readonly skipReason?: string };
    }[];
  }[];
}

/** The cheapest first, so that most mistakes show early. */
const suites = ["unit", "types", "integration", "crash", "house"] as const;
const SUITE_MS_MAX = 30 * 60_000;
const root: string = fileURLToPath(new URL("..", import.meta.url));

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const isStrict = args.includes("--no-skips");
  const names = args.filter((arg) => arg !== "--no-skips");
  const unknown = names.filter((name) => !suites.some((suite) => suite === name));
  if (unknown.length > 0) {
    console.error(`No such suite: ${unknown.join(", ")}. Suites: ${suites.join(", ")}`);
    return 2;
  }
  if (names.length === 0 || names.includes("integration") || names.includes("house")) {
    installOutside();
  }
  const results: SuiteResult[] = [];
  for (const suite of suites.filter((name) => names.length === 0 || names.includes(name))) {
    console.log(`\n— ${suite} —`);
    results.push(await runSuite(suite));
  }
  if (names.length === 0) {
    const forgotten = await forgottenFiles(results.flatMap(({ files }) => files));
    if (forgotten !== undefined) results.push(forgotten);
  }
  console.log(`\n${tableOf(results)}`);
  return isGreen(results, { isStrict }) ? 0 : 1;
}

async function runSuite(suite: string): Promise<SuiteResult> {
  const folder = await mkdtemp(join(tmpdir(), "dure-report-"));
  const startedAt = performance.now();
  try {
    const reportFile = join(folder, "report.json");
    const exitCode = await runVitest([
      `--project=${suite}`,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${reportFile}`,
    ]);
    const text = await readFile(reportFile, "utf8").catch(() => undefined);
    const report = text === undefined ? undefined : (JSON.parse(text) as VitestReport); // its format
    const seconds = (performance.now() - startedAt) / 1000;
    return judge(suite, report, { exitCode, seconds });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function runVitest(args: readonly string[]): Promise<number | null> {
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const child = spawn(process.execPath, [vitest, "run", ...args], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    timeout: SUITE_MS_MAX,
    killSignal: "SIGKILL",
  });
  return new Promise((resolve) => {
    child.once("error", () => resolve(null));
    child.once("exit", (code) => resolve(code));
  });
}

/** Counts a report, and turns everything that makes Vitest fail outside a test into a failure too. */
export function judge(
  suite: string,
  report: VitestReport | undefined,
  { exitCode, seconds }: { exitCode: number | null; seconds: number },
): SuiteResult {
  const files = report?.testResults ?? [];
  const tests = files.flatMap(({ assertionResults }) => assertionResults);
  const passed = tests.filter(({ status }) => status === "passed").length;
  const failedTests = tests.filter(({ status }) => status === "failed").length;
  const skipped = tests.filter(({ status }) => status !== "passed" && status !== "failed");
  const remarks = skipped.map(
    ({ fullName, meta }) => `skipped: ${fullName} (${meta?.skipReason ?? "no reason given"})`,
  );
  const brokenFiles = files.filter(
    ({ status, assertionResults }) =>
      status === "failed" && !assertionResults.some((test) => test.status === "failed"),
  );
  for (const { name, message } of brokenFiles) {
    remarks.push(`failed: ${relative(root, name)}: ${message?.split("\n")[0] ?? "no message"}`);
  }
  let failed = failedTests + brokenFiles.length;
  if (passed + failed === 0) {
    failed = 1;
    remarks.push(`failed: the suite ran no test (Vitest's exit code ${exitCode})`);
  } else if (exitCode !== 0 && failed === 0) {
    failed = 1;
    remarks.push(`failed: an error outside the tests (Vitest's exit code ${exitCode})`);
  }
  const names = files.map(({ name }) => name);
  return { suite, passed, failed, skipped: skipped.length, seconds, remarks, files: names };
}

/** A test file that no suite takes would never fail, so it is a failure itself. */
async function forgottenFiles(ran: readonly string[]): Promise<SuiteResult | undefined> {
  const known = new Set(ran);
  const forgotten: string[] = [];
  const exclude = ["**/node_modules", "**/dist", "**/coverage"];
  for await (const name of glob("{packages,apps,tools,docs,examples}/**/*.{test,test-d}.ts", {
    cwd: root,
    exclude,
  })) {
    if (!known.has(join(root, name))) forgotten.push(name);
  }
  if (forgotten.length === 0) return undefined;
  return {
    suite: "(no suite)",
    passed: 0,
    failed: forgotten.length,
    skipped: 0,
    seconds: 0,
    remarks: forgotten.map((name) => `failed: no suite ran ${name}`),
    files: [],
  };
}

/** Whether the run as a whole is good. */
export function isGreen(
  results: readonly SuiteResult[],
  { isStrict }: { isStrict: boolean },
): boolean {
  return results.every(({ failed, skipped }) => failed === 0 && (skipped === 0 || !isStrict));
}

/** The table, the remarks under it, and the totals alone on the last line. */
export function tableOf(results: readonly SuiteResult[]): string {
  const header = ["suite", "passed", "failed", "skipped", "seconds"];
  const rows = results.map(({ suite, passed, failed, skipped, seconds }) => [
    suite,
    ...[passed, failed, skipped].map(String),
    seconds.toFixed(1),
  ]);
  const lines = [header, ...rows].map((cells) =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(13) : cell.padStart(9))).join(""),
  );
  const remarks = results.flatMap(({ suite, remarks: own }) => own.map((x) => `${suite}: ${x}`));
  const sum = (key: "passed" | "failed" | "skipped") =>
    results.reduce((total, result) => total + result[key], 0);
  const totals = `${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`;
  return [...lines, ...(remarks.length > 0 ? ["", ...remarks] : []), "", totals].join("\n");
}
