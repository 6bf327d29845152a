import { systemClock } from "../core/clock.ts";
import type { CrashPoint } from "./crash-point.ts";
import type { ProcessPlan } from "./process-plan.ts";
import type { ExploredPoint, PointVerdict } from "./report.ts";
import type { RunServer } from "./run-databases.ts";
import type { ProcessOutcome } from "./run-process.ts";

const TRIES_MAX = 2;

/** With what a scenario is run. */
export interface ScenarioRun {
  readonly server: RunServer;
  readonly process: (plan: Omit<ProcessPlan, "moduleUrl">) => Promise<ProcessOutcome>;
}

/** Snapshots of the fault-free runs; `untouched` where the module asks for it. */
export interface References {
  readonly completed: unknown;
  readonly untouched?: unknown;
}

/** Runs the scenario with a fault at this point, lets it recover, and looks. Tries again if the point was not reached. */
export async function explorePoint(
  point: CrashPoint,
  facts: { readonly run: ScenarioRun; readonly references: References },
): Promise<ExploredPoint> {
  const startedAt = systemClock.monotonic();
  let verdict: PointVerdict = { kind: "not-reached", cameBy: 0, detail: "it was not tried" };
  for (let tries = 1; tries <= TRIES_MAX && verdict.kind === "not-reached"; tries += 1) {
    verdict = await tryPoint(point, facts);
  }
  return { ...point, verdict, durationMs: systemClock.monotonic() - startedAt };
}

async function tryPoint(
  fault: CrashPoint,
  { run, references }: { readonly run: ScenarioRun; readonly references: References },
): Promise<PointVerdict> {
  await using databases = await run.server.clone();
  const databaseUrls = databases.urls;
  const scenario = await run.process({ phase: "scenario", databaseUrls, fault });
  if (!scenario.isHit) {
    const { cameBy } = scenario;
    const ended = `it ended, and came by ${fault.name} ${cameBy} times`;
    const how = scenario.end === "finished" ? ended : scenario.detail;
    return {
      kind: "not-reached",
      cameBy,
      detail: `tried ${TRIES_MAX} times; the last time ${how}`,
    };
  }
  // A scenario that fails of its lost answer has answered its caller; one that hangs has not.
  if (scenario.end === "timed-out") return violated(`scenario: ${scenario.detail}`);
  const { settled, detail } = await run.process({ phase: "settle", databaseUrls, references });
  if (settled === undefined) return violated(`recover: ${detail}`);
  return settled.problems.length > 0 ? violated(...settled.problems) : { kind: "held" };
}

function violated(...problems: readonly string[]): PointVerdict {
  return { kind: "violated", problems };
}
