/** The program of each process that the explorer starts. Its plan is in the environment. */
import { writeSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { describeError } from "../core/errors.ts";
import { createFaultSwitch, type FaultSwitch, lostAnswer, noFaultSwitch } from "./fault-switch.ts";
import { explorerPool } from "./explorer-pool.ts";
import {
  planVariable,
  type ProcessMessage,
  type ProcessPlan,
  reportDescriptor,
} from "./process-plan.ts";
import type { PointFunction, ScenarioModule, Scene } from "./scenario-module.ts";
import { describeDifference } from "./difference.ts";

// An explorer that is gone has closed this, and nobody wants the outcome any more.
process.stdin.resume().unref();
process.stdin.once("end", () => process.exit(1));

const plan = JSON.parse(process.env[planVariable] ?? "{}") as ProcessPlan;
try {
  // The shape is what the guide asks for; what is missing is said below.
  const scenario = (await import(plan.moduleUrl)) as ScenarioModule;
  report(await runPhase(scenario));
} catch (error) {
  console.error(error);
  report({ kind: "failed", error: describeError(error) });
}
// What is still open is not waited for: the end of a scenario's process is not a graceful one.
process.exit(0);

async function runPhase(scenario: ScenarioModule): Promise<ProcessMessage> {
  if (typeof scenario.scenario !== "function") {
    throw new TypeError(`${plan.moduleUrl} exports no function named scenario`);
  }
  if (plan.phase === "settle") return settle(scenario, createScene(noFaultSwitch));
  const faults = plan.phase === "scenario" ? countingSwitch() : noFaultSwitch;
  if (plan.phase === "prepare") await scenario.prepare?.(createScene(faults));
  else await scenario.scenario(createScene(faults));
  return { kind: "done", cameBy: faults.countOf(plan.fault?.name ?? "") };
}

async function settle(scenario: ScenarioModule, scene: Scene): Promise<ProcessMessage> {
  await scenario.recover?.(scene);
  const observed = toJson(await scenario.observe?.(scene));
  const problems: string[] = [];
  for (const [name, invariant] of Object.entries(scenario.invariants ?? {})) {
    problems.push(...(await invariant(scene)).map((problem) => `${name}: ${problem}`));
  }
  const { completed, untouched } = plan.references ?? { completed: observed };
  const outcomes = scenario.outcomes?.({ completed, untouched }) ?? [completed];
  const isKnown = outcomes.some((outcome) => isDeepStrictEqual(toJson(outcome), observed));
  if (plan.references !== undefined && !isKnown) {
    const difference = describeDifference(completed, observed);
    problems.push(`observe: not an allowed outcome; against the fault-free run: ${difference}`);
  }
  return { kind: "settled", observed, problems, hasOutcomes: scenario.outcomes !== undefined };
}

function countingSwitch(): FaultSwitch {
  return createFaultSwitch({
    fault: plan.fault,
    onPoint: (point) => {
      // Only a fault-free run is asked for them, and hundreds of others need not tell.
      if (plan.fault === undefined) report({ kind: "point", ...point });
    },
    onHit: () => report({ kind: "hit" }),
    die: () => process.kill(process.pid, "SIGKILL"),
  });
}

function createScene(faults: FaultSwitch): Scene {
  const [databaseUrl = ""] = Object.values(plan.databaseUrls);
  return {
    databaseUrl,
    databaseUrls: plan.databaseUrls,
    explorerPool: (pool, options) => explorerPool(pool, faults, options),
    point: pointFunction(faults),
  };
}

function pointFunction(faults: FaultSwitch): PointFunction {
  const around = async (name: string, call: () => unknown): Promise<unknown> => {
    const answer = faults.begin(name);
    const result = await Promise.try(call).catch((error: unknown) => {
      answer.failed();
      throw error;
    });
    if (answer.answered() === "lost") throw lostAnswer(name);
    return result;
  };
  const point = (name: string, call?: () => unknown): unknown =>
    call === undefined ? faults.at(name) : around(name, call);
  // One function with two faces: a type for overloads is not inferred from a body.
  return point as PointFunction;
}

function toJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null));
}

/** Written before the process can die: nothing is left in a buffer of ours. */
function report(message: ProcessMessage): void {
  writeSync(reportDescriptor, `${JSON.stringify(message)}\n`);
}
