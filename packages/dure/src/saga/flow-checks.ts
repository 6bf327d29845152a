import type { AnyEventDefinition } from "../core/event.ts";
import type { FlowDefinition, FlowStepPlan } from "./flow-definition.ts";

/** What is wrong with a flow: one line for each mistake, none where it can be followed. */
export function flowProblems(
  definition: FlowDefinition,
  facts: readonly AnyEventDefinition[],
): readonly string[] {
  const problems: string[] = [];
  const { name, version, steps } = definition;
  if (!namePattern.test(name)) problems.push(`the flow's name ${nameRule}`);
  if (!Number.isInteger(version) || version < 1 || version > 32_767) {
    problems.push(`version: must be a whole number from 1 to 32767, got ${String(version)}`);
  }
  for (const option of ["sagaId", "businessKey", "reason"] as const) {
    const given = definition[option];
    const isRequired = option === "sagaId";
    if (typeof given === "function" || (given === undefined && !isRequired)) continue;
    problems.push(`${option === "businessKey" ? "key" : option}: must be a function`);
  }
  if (steps.length === 0) problems.push("it has no steps");
  checkParts(facts, problems);
  checkSteps(definition, problems);
  checkEnd(definition, problems);
  return problems;
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const nameRule = "must be 1 to 64 of a-z, 0-9 and dash, and begin with a letter or digit";
const yearMs = 365 * 86_400_000;

/** An event that played two parts would say two things at once. */
function checkParts(facts: readonly AnyEventDefinition[], problems: string[]): void {
  const taken = new Set<string>();
  for (const { type } of facts) {
    if (taken.has(type)) problems.push(`event "${type}": has two parts in the flow`);
    taken.add(type);
  }
}

function checkSteps({ start, steps }: FlowDefinition, problems: string[]): void {
  const before = new Set([start]);
  const names = new Set<string>();
  for (const step of steps) {
    const at = `step "${step.name}"`;
    if (!namePattern.test(step.name)) problems.push(`${at}: its name ${nameRule}`);
    if (names.has(step.name)) problems.push(`${at}: the name is taken`);
    names.add(step.name);
    if (!namePattern.test(step.service)) problems.push(`${at}: service ${nameRule}`);
    if (step.after.length === 0) problems.push(`${at}: comes after nothing`);
    for (const type of step.after) {
      if (before.has(type)) continue;
      problems.push(`${at}: "${type}" is neither the start nor what an earlier step comes to`);
    }
    before.add(step.done);
    checkMs(`${at}: withinMs`, step.withinMs, problems);
    checkMs(`${at}: undoneWithinMs`, step.undoneWithinMs, problems);
  }
}

/** A step beside the end could still refuse when all is said to be done. */
function checkEnd({ steps, completedBy }: FlowDefinition, problems: string[]): void {
  const needed = new Set(completedBy);
  for (const type of completedBy) {
    if (!steps.some(({ done }) => done === type)) {
      problems.push(`completedBy: "${type}" is not what a step comes to`);
    }
  }
  for (const step of steps.toReversed()) {
    if (needed.has(step.done)) for (const type of step.after) needed.add(type);
    else problems.push(leftOver(step));
  }
}

function leftOver({ name, done }: FlowStepPlan): string {
  return `step "${name}": the flow would complete without it; name "${done}" in completedBy, or let a later step come after it`;
}

function checkMs(name: string, value: number, problems: string[]): void {
  if (Number.isInteger(value) && value >= 1 && value <= yearMs) return;
  problems.push(`${name}: must be a whole number from 1 to ${yearMs}, got ${String(value)}`);
}
