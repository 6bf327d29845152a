import { areExclusive, placedSteps } from "./placed-steps.ts";
import type { PlacedStep } from "./placed-steps.ts";
import type { AnySagaDefinition } from "./saga-definition.ts";

/** What a definition leaves open. */
export interface SagaFinding {
  readonly code:
    | "COMPENSATION_UNREACHABLE"
    | "NO_PIVOT"
    | "PIVOT_MAY_GIVE_UP"
    | "PIVOT_READ_ONLY"
    | "STEP_NOT_COMPENSATED"
    | "TIMEOUT_NOT_HANDLED";
  /** `error`: there is a failure after which the parts of the business disagree. */
  readonly severity: "error" | "warning";
  readonly step: string;
  readonly message: string;
}

/** What {@link checkSaga} found. */
export interface SagaCheck {
  /** In the order of the steps. */
  readonly findings: readonly SagaFinding[];
  /** Of the steps that may have to be undone, so many can be. */
  readonly coverage: { readonly compensated: number; readonly steps: number };
}

/**
 * Looks for failures that a definition has no answer to: without running it, and good for a build that
 * should fail. It believes `readOnly`, and cannot see whether a compensation undoes what it should.
 */
export function checkSaga(definition: AnySagaDefinition): SagaCheck {
  const steps = placedSteps(definition.nodes);
  const mayBeUndone = steps.filter(
    (placed) =>
      placed.place === "before" && !placed.step.isReadOnly && !isSelfContained(placed, steps),
  );
  return {
    findings: steps.flatMap((placed) => findingsOf(placed, steps)),
    coverage: {
      compensated: mayBeUndone.filter(({ step }) => step.compensation !== undefined).length,
      steps: mayBeUndone.length,
    },
  };
}

function findingsOf(placed: PlacedStep, steps: readonly PlacedStep[]): readonly SagaFinding[] {
  switch (placed.place) {
    case "before":
      return beforePivot(placed, steps);
    case "pivot":
      return [...afterDecision(placed), ...pivotFindings(placed)];
    case "after":
      return afterDecision(placed);
  }
}

function beforePivot(placed: PlacedStep, steps: readonly PlacedStep[]): readonly SagaFinding[] {
  const { step } = placed;
  const name = step.name;
  if (isSelfContained(placed, steps)) {
    if (step.compensation === undefined) return [];
    const message = `"${name}" is the last step and commits with the journal: once it is done the saga is completed, and its compensation never runs`;
    return [{ code: "COMPENSATION_UNREACHABLE", severity: "warning", step: name, message }];
  }
  if (step.isReadOnly || step.compensation !== undefined) return [];
  if (!isLast(placed, steps)) {
    const message = `"${name}" changes something and has no compensation: when a later step fails it stays done; give it compensate, or readOnly: true if it changes nothing`;
    return [{ code: "STEP_NOT_COMPENSATED", severity: "error", step: name, message }];
  }
  const noPivot = `the saga has no pivot and ends with "${name}", which has no compensation: make it the pivot, so that it is asked again until its outcome is known`;
  const timeout = `"${name}" may have happened when it times out, and nothing finds out: make it the pivot, or give it compensate`;
  return [
    { code: "NO_PIVOT", severity: "warning", step: name, message: noPivot },
    { code: "TIMEOUT_NOT_HANDLED", severity: "error", step: name, message: timeout },
  ];
}

function pivotFindings({ step }: PlacedStep): readonly SagaFinding[] {
  const findings: SagaFinding[] = [];
  const { name } = step;
  if (step.isReadOnly) {
    const message = `the pivot "${name}" changes nothing, so it decides nothing: make the first step that cannot be undone the pivot`;
    findings.push({ code: "PIVOT_READ_ONLY", severity: "warning", step: name, message });
  }
  if (Number.isFinite(step.retry.attempts) && !isInDatabase({ step })) {
    const message = `the pivot "${name}" gives up after ${step.retry.attempts} attempts: with its outcome unknown the saga then waits for an operator`;
    findings.push({ code: "PIVOT_MAY_GIVE_UP", severity: "warning", step: name, message });
  }
  return findings;
}

/** {@link saga} refuses it; a definition put together by hand may have it. */
function afterDecision({ step }: PlacedStep): readonly SagaFinding[] {
  if (step.compensation === undefined) return [];
  const message = `the compensation of "${step.name}" never runs: from the pivot on the saga only goes forward`;
  return [{ code: "COMPENSATION_UNREACHABLE", severity: "error", step: step.name, message }];
}

/** Nothing follows it or runs beside it, so that no other step's failure can ask for its undoing. */
function isLast(placed: PlacedStep, steps: readonly PlacedStep[]): boolean {
  return !steps.some(
    (other) => other !== placed && other.rank >= placed.rank && !areExclusive(placed, other),
  );
}

/** The last step, and it either committed and the saga is completed, or changed nothing. */
function isSelfContained(placed: PlacedStep, steps: readonly PlacedStep[]): boolean {
  return isInDatabase(placed) && isLast(placed, steps);
}

function isInDatabase({ step }: Pick<PlacedStep, "step">): boolean {
  return step.action.kind === "local" || step.action.kind === "statement";
}
