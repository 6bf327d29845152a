import type { PlanNode, StepPlan } from "./saga-definition.ts";

/** A step, and where it stands in its definition. */
export interface PlacedStep {
  readonly step: StepPlan;
  /** Steps of one rank may begin together; a higher rank begins later, where it begins at all. */
  readonly rank: number;
  /** From 0, as declared. */
  readonly order: number;
  /** The cases that must be chosen for it, the outermost first. */
  readonly cases: readonly { readonly branch: string; readonly name: string }[];
  /** The parallel group that it belongs to. */
  readonly group: string | undefined;
  readonly place: "before" | "pivot" | "after";
}

/** All steps of a definition, as declared. */
export function placedSteps(nodes: readonly PlanNode[]): readonly PlacedStep[] {
  const placed: PlacedStep[] = [];
  let rank = 0;
  let place: PlacedStep["place"] = "before";
  const add = (step: StepPlan, where: Pick<PlacedStep, "cases" | "group">): void => {
    if (step.isPivot) place = "pivot";
    placed.push({ ...where, step, rank, order: placed.length, place });
    if (step.isPivot) place = "after";
  };
  const walk = (inner: readonly PlanNode[], cases: PlacedStep["cases"]): void => {
    for (const node of inner) {
      rank += 1;
      switch (node.kind) {
        case "step":
          add(node.step, { cases, group: undefined });
          break;
        case "parallel":
          for (const step of node.steps) add(step, { cases, group: node.name });
          break;
        case "branch":
          for (const [name, path] of Object.entries(node.cases)) {
            walk(path, [...cases, { branch: node.name, name }]);
          }
          break;
      }
    }
  };
  walk(nodes, []);
  return placed;
}

/** True of steps in two cases of one branch: of these, only one runs. */
export function areExclusive(one: PlacedStep, other: PlacedStep): boolean {
  return one.cases.some((mine) =>
    other.cases.some((theirs) => mine.branch === theirs.branch && mine.name !== theirs.name),
  );
}
