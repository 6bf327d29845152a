import type { RetryPolicy } from "../core/backoff.ts";
import { areExclusive, placedSteps } from "./placed-steps.ts";
import type { PlacedStep } from "./placed-steps.ts";
import type { AnySagaDefinition, PlanNode } from "./saga-definition.ts";

/** What is wrong with a definition as a whole: one line for each mistake, none where it can be run. */
export function definitionProblems(
  definition: Pick<AnySagaDefinition, "name" | "version" | "nodes" | "deadlineMs">,
): readonly string[] {
  const problems: string[] = [];
  const { name, version, deadlineMs, nodes } = definition;
  const steps = placedSteps(nodes);
  if (!namePattern.test(name)) problems.push(`the saga's name ${nameRule}`);
  range("version", version, { min: 1, max: 32_767 }, problems);
  if (deadlineMs !== undefined) range("deadlineMs", deadlineMs, { min: 1, max: yearMs }, problems);
  if (steps.length === 0) problems.push("it has no steps");
  checkNames(nodes, problems);
  checkKeys(steps, problems);
  for (const placed of steps) {
    checkLimits(placed, problems);
    checkNeeds(placed, steps, problems);
  }
  return problems;
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const nameRule =
  "must be 1 to 64 of a-z, 0-9 and dash, and begin with a letter or digit: it becomes part of keys and tables";
const casePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const keyPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const dayMs = 86_400_000;
const yearMs = 365 * dayMs;

/** The journal names steps, groups and branches by name alone. */
function checkNames(nodes: readonly PlanNode[], problems: string[]): void {
  const taken = new Set<string>();
  const take = (what: string, name: string): void => {
    if (!namePattern.test(name)) problems.push(`${what} "${name}": its name ${nameRule}`);
    if (taken.has(name)) problems.push(`${what} "${name}": the name is taken`);
    taken.add(name);
  };
  const walk = (inner: readonly PlanNode[]): void => {
    for (const node of inner) {
      if (node.kind === "step") {
        take("step", node.step.name);
        continue;
      }
      take(node.kind, node.name);
      if (node.kind === "parallel") {
        if (node.steps.length === 0) problems.push(`parallel "${node.name}": has no steps`);
        for (const step of node.steps) take("step", step.name);
        continue;
      }
      const cases = Object.entries(node.cases);
      if (cases.length === 0) problems.push(`branch "${node.name}": has no cases`);
      for (const [name, path] of cases) {
        if (!casePattern.test(name)) {
          problems.push(
            `branch "${node.name}": case "${name}" must be 1 to 64 of letters, digits, dash and underscore`,
          );
        }
        walk(path);
      }
    }
  };
  walk(nodes);
}

/** Two calls of one key would be one call for the callee, which answers the second with the first's result. */
function checkKeys(steps: readonly PlacedStep[], problems: string[]): void {
  const owners = new Map<string, string>();
  const take = (suffix: string, owner: string): void => {
    const before = owners.get(suffix);
    if (before !== undefined) {
      problems.push(`${owner}: its key ends in "${suffix}" as that of ${before}: set action`);
    }
    if (!keyPattern.test(suffix)) {
      problems.push(
        `${owner}: action "${suffix}" must be 1 to 128 of letters, digits, dot, dash and underscore`,
      );
    }
    owners.set(suffix, owner);
  };
  for (const { step } of steps) {
    take(step.keySuffix, `step "${step.name}"`);
    if (step.compensation !== undefined) {
      take(step.compensation.keySuffix, `the compensation of step "${step.name}"`);
    }
  }
}

function checkLimits({ step, place }: PlacedStep, problems: string[]): void {
  const at = `step "${step.name}"`;
  range(`${at}: timeoutMs`, step.timeoutMs, { min: 1, max: dayMs }, problems);
  checkRetry(`${at}: retry`, step.retry, { mayBeInfinite: place !== "before" }, problems);
  const isInDatabase = step.action.kind === "local" || step.action.kind === "statement";
  if (place !== "before" && !isInDatabase && step.retry.attempts < 2) {
    problems.push(
      `${at}: has no way forward: from the pivot on nothing is undone, so retry.attempts must be 2 or more`,
    );
  }
  const { compensation } = step;
  if (compensation === undefined) return;
  range(`${at}: compensate.timeoutMs`, compensation.timeoutMs, { min: 1, max: dayMs }, problems);
  checkRetry(`${at}: compensate.retry`, compensation.retry, { mayBeInfinite: false }, problems);
}

function checkRetry(
  at: string,
  retry: RetryPolicy,
  { mayBeInfinite }: { readonly mayBeInfinite: boolean },
  problems: string[],
): void {
  if (!(mayBeInfinite && retry.attempts === Number.POSITIVE_INFINITY)) {
    const more = mayBeInfinite ? ", or Infinity" : "";
    range(`${at}.attempts`, retry.attempts, { min: 1, max: 1_000, more }, problems);
  }
  range(`${at}.baseMs`, retry.baseMs, { min: 1, max: dayMs }, problems);
  range(`${at}.maxMs`, retry.maxMs, { min: retry.baseMs, max: dayMs }, problems);
}

/** What is undone first is what started last, so only that can be waited for. */
function checkNeeds(placed: PlacedStep, steps: readonly PlacedStep[], problems: string[]): void {
  for (const need of placed.step.compensation?.needs ?? []) {
    const at = `step "${placed.step.name}": compensate.needs "${need}"`;
    const other = steps.find(({ step }) => step.name === need);
    if (other === undefined) {
      problems.push(`${at}: there is no such step`);
    } else if (other.step.compensation === undefined) {
      problems.push(`${at}: that step has no compensation`);
    } else if (areExclusive(placed, other)) {
      problems.push(
        `${at}: that step is in another case of the same branch, and never runs with this one`,
      );
    } else if (other.order <= placed.order) {
      problems.push(`${at}: that step is undone after this one: name steps that start later`);
    }
  }
}

function range(
  name: string,
  value: number,
  limits: { readonly min: number; readonly max: number; readonly more?: string },
  problems: string[],
): void {
  if (Number.isInteger(value) && value >= limits.min && value <= limits.max) return;
  problems.push(
    `${name}: must be a whole number from ${limits.min} to ${limits.max}${limits.more ?? ""}, got ${String(value)}`,
  );
}
