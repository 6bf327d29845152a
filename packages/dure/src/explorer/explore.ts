import { isDeepStrictEqual } from "node:util";
import { systemClock } from "../core/clock.ts";
import { DureError } from "../core/errors.ts";
import { type CrashPoint, pointsOf, samplePoints, type SeenPoint } from "./crash-point.ts";
import { describeDifference } from "./difference.ts";
import { type ExploreOptions, type ExploreSettings, exploreSettings } from "./explore-options.ts";
import { type ExplorationReport, type ExploredPoint, reportOf } from "./report.ts";
import { openRunServer } from "./run-databases.ts";
import { type ProcessOutcome, runProcess } from "./run-process.ts";
import { explorePoint, type References, type ScenarioRun } from "./scenario-run.ts";

/**
 * Runs a scenario once for each of its crash points, in a fresh process that dies by SIGKILL right there (or loses
 * an answer there), recovers in another process, and answers where the outcome was not as without the fault.
 *
 * Two fault-free runs come first: they find the points, and show that the scenario itself comes out the same. A
 * point is known by its name and how often that came before. What is planned and not reached is tried once
 * more and then reported as such, never taken for good. Each run has databases of its own.
 *
 * If this process dies, its children end by themselves; on a server that was given, databases named
 * `dure_explorer_…` are left.
 *
 * @throws SCENARIO_FAILED when a fault-free run fails, breaks an invariant, comes out in two ways, or has no point
 * @throws CONFIGURATION_INVALID, DATABASE_UNAVAILABLE, EMBEDDED_POSTGRES_FAILED
 */
export async function explore(options: ExploreOptions): Promise<ExplorationReport> {
  const settings = exploreSettings(options);
  const startedAt = systemClock.monotonic();
  // One failure of our own (the server is gone) ends all that is under way.
  const failing = new AbortController();
  const signal = AbortSignal.any([settings.signal, failing.signal]);
  const { moduleUrl, serverUrl, databases: names, seed } = settings;
  await using server = await openRunServer({ serverUrl, names, signal });
  const { env, execArgv, processMsMax } = settings;
  const run: ScenarioRun = {
    server,
    process: (plan) =>
      runProcess({ moduleUrl, ...plan }, { env, execArgv, msMax: processMsMax, signal }),
  };
  const prepared = await run.process({ phase: "prepare", databaseUrls: server.templates });
  if (prepared.end !== "finished") throw scenarioFailed(`prepare: ${prepared.detail}`);
  const { found, references } = await runWithoutFault(run);
  const planned = plan(found, settings);
  const points = await exploreAll(planned, { settings, run, references, failing });
  const durationMs = systemClock.monotonic() - startedAt;
  return reportOf({ moduleUrl, seed, foundCount: found.length, points, durationMs });
}

interface FaultFree {
  readonly found: readonly CrashPoint[];
  readonly references: References;
}

async function runWithoutFault(run: ScenarioRun): Promise<FaultFree> {
  const first = await runOnce(run, { hasScenario: true });
  const second = await runOnce(run, { hasScenario: true });
  const completed = first.settled.observed;
  if (!isDeepStrictEqual(completed, second.settled.observed)) {
    const difference = describeDifference(completed, second.settled.observed);
    const advice = "leave ids and times out of what observe answers";
    throw scenarioFailed(`two runs without a fault came out differently: ${difference}; ${advice}`);
  }
  const found = pointsOf([first.points, second.points]);
  if (found.length === 0) {
    const advice = "hand scene.explorerPool(pool) to the service, or call scene.point";
    throw scenarioFailed(`it came by no crash point: ${advice}`);
  }
  if (!first.settled.hasOutcomes) return { found, references: { completed } };
  const { settled } = await runOnce(run, { hasScenario: false });
  return { found, references: { completed, untouched: settled.observed } };
}

interface FaultFreeRun {
  readonly points: readonly SeenPoint[];
  readonly settled: NonNullable<ProcessOutcome["settled"]>;
}

async function runOnce(
  run: ScenarioRun,
  { hasScenario }: { readonly hasScenario: boolean },
): Promise<FaultFreeRun> {
  await using databases = await run.server.clone();
  const which = hasScenario ? "without a fault" : "without the scenario";
  let points: readonly SeenPoint[] = [];
  if (hasScenario) {
    const outcome = await run.process({ phase: "scenario", databaseUrls: databases.urls });
    if (outcome.end !== "finished") throw scenarioFailed(`the run ${which}: ${outcome.detail}`);
    points = outcome.points;
  }
  const { settled, detail } = await run.process({ phase: "settle", databaseUrls: databases.urls });
  if (settled === undefined) throw scenarioFailed(`the recovery ${which}: ${detail}`);
  if (settled.problems.length > 0) {
    throw scenarioFailed(`an invariant does not hold ${which}: ${settled.problems.join("; ")}`);
  }
  return { points, settled };
}

function plan(found: readonly CrashPoint[], settings: ExploreSettings): readonly CrashPoint[] {
  const { faults, only, points, seed } = settings;
  const wanted = found.filter(
    (point) =>
      faults.includes(point.when === "answer-lost" ? "answer-lost" : "crash") && only(point),
  );
  if (wanted.length === 0) {
    const what = `explore: none of the ${found.length} points is left by "only" and "faults"`;
    throw new DureError("CONFIGURATION_INVALID", what);
  }
  return points === "all" ? wanted : samplePoints(wanted, { count: points, seed });
}

interface Exploration {
  readonly settings: ExploreSettings;
  readonly run: ScenarioRun;
  readonly references: References;
  readonly failing: AbortController;
}

async function exploreAll(
  planned: readonly CrashPoint[],
  { settings, run, references, failing }: Exploration,
): Promise<readonly ExploredPoint[]> {
  const explored: ExploredPoint[] = [];
  const waiting = planned.entries();
  const work = async (): Promise<void> => {
    for (const [index, point] of waiting) {
      const last = await explorePoint(point, { run, references });
      explored[index] = last;
      // Counted by what is there: others may have finished later points before.
      const doneCount = explored.filter((each) => each !== undefined).length;
      settings.onProgress({ doneCount, plannedCount: planned.length, last });
    }
  };
  const workers = Array.from({ length: settings.parallelism }, () =>
    work().catch((error: unknown) => {
      failing.abort(error);
      throw error;
    }),
  );
  // All are waited for, so that no process outlives this call; the first reason is the one that is told.
  await Promise.allSettled(workers);
  failing.signal.throwIfAborted();
  return explored;
}

function scenarioFailed(what: string): DureError {
  return new DureError("SCENARIO_FAILED", `nothing was explored: ${what}`);
}
