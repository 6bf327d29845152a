import type { RetryPolicy } from "../core/backoff.ts";
import { placedSteps } from "./placed-steps.ts";
import type { PlacedStep } from "./placed-steps.ts";
import type { ActionKind } from "./saga-defaults.ts";
import type { AnySagaDefinition, CompensationPlan, PlanNode } from "./saga-definition.ts";

/** A definition as a graph that JSON can carry: to be drawn, compared or kept. */
export interface SagaGraph {
  readonly name: string;
  readonly version: number;
  /** In milliseconds; null: none. */
  readonly deadlineMs: number | null;
  /** The name of the pivot; null: there is none. */
  readonly pivot: string | null;
  readonly nodes: readonly SagaGraphNode[];
  readonly edges: readonly SagaGraphEdge[];
}

/** A place of the graph. Ids of steps, groups and branches are their names; other ids hold a character that no name has. */
export type SagaGraphNode =
  | { readonly id: "$start" | "$completed" | "$compensated"; readonly kind: "end" }
  | SagaGraphStep
  | SagaGraphCompensation
  | { readonly id: string; readonly kind: "parallel"; readonly steps: readonly string[] }
  | { readonly id: string; readonly kind: "branch"; readonly cases: readonly string[] };

/** A step. */
export interface SagaGraphStep extends SagaGraphAction {
  readonly kind: "step";
  readonly isPivot: boolean;
  readonly isReadOnly: boolean;
  readonly place: PlacedStep["place"];
  /** The parallel group that it belongs to. */
  readonly group: string | null;
  /** The cases that must be chosen for it, the outermost first. */
  readonly cases: PlacedStep["cases"];
  /** The id of what undoes it. */
  readonly compensation: string | null;
}

/** What undoes a step. */
export interface SagaGraphCompensation extends SagaGraphAction {
  readonly kind: "compensation";
  readonly of: string;
  /** Steps whose compensation must not have failed for this one to run. */
  readonly needs: readonly string[];
}

/** What steps and compensations have in common. */
export interface SagaGraphAction {
  readonly id: string;
  readonly action: ActionKind;
  /** The end of its idempotency key. */
  readonly key: string;
  readonly timeoutMs: number;
  /** `attempts: null` is without end. */
  readonly retry: Omit<RetryPolicy, "attempts"> & { readonly attempts: number | null };
}

/** A way from one place to another. */
export interface SagaGraphEdge {
  readonly from: string;
  readonly to: string;
  /**
   * `forward`: when done. `undo`: from a step to where undoing begins when it fails, its own compensation first.
   * `back`: from a compensation to the one that follows. `needs`: from a compensation to one that it needs.
   */
  readonly kind: "forward" | "undo" | "back" | "needs";
  /** The case of a branch for which this way is gone; null elsewhere. */
  readonly case: string | null;
}

/** The graph of a definition, with the way forward and the way back. The same definition gives the same graph. */
export function sagaGraph(definition: AnySagaDefinition): SagaGraph {
  const steps = placedSteps(definition.nodes);
  const edges = uniqueEdges([
    ...forwardEdges(definition.nodes),
    ...backwardEdges(definition.nodes, steps),
    ...needsEdges(steps),
  ]);
  const ends = (["$start", "$completed", "$compensated"] as const).filter((id) =>
    edges.some(({ from, to }) => from === id || to === id),
  );
  return {
    name: definition.name,
    version: definition.version,
    deadlineMs: definition.deadlineMs ?? null,
    pivot: steps.find(({ step }) => step.isPivot)?.step.name ?? null,
    nodes: [
      ...ends.map((id) => ({ id, kind: "end" }) as const),
      ...steps.flatMap(stepNodes),
      ...forkNodes(definition.nodes),
    ],
    edges,
  };
}

const compensationId = (step: string): string => `${step}/compensate`;

function stepNodes({ step, place, group, cases }: PlacedStep): SagaGraphNode[] {
  const { compensation } = step;
  const forward: SagaGraphStep = {
    ...actionOf(step.name, step),
    kind: "step",
    isPivot: step.isPivot,
    isReadOnly: step.isReadOnly,
    place,
    group: group ?? null,
    cases,
    compensation: compensation === undefined ? null : compensationId(step.name),
  };
  if (compensation === undefined) return [forward];
  const back: SagaGraphCompensation = {
    ...actionOf(compensationId(step.name), compensation),
    kind: "compensation",
    of: step.name,
    needs: compensation.needs,
  };
  return [forward, back];
}

function actionOf(
  id: string,
  plan: Pick<CompensationPlan, "keySuffix" | "timeoutMs" | "retry"> & {
    readonly action: { readonly kind: ActionKind };
  },
): SagaGraphAction {
  const { attempts } = plan.retry;
  return {
    id,
    action: plan.action.kind,
    key: plan.keySuffix,
    timeoutMs: plan.timeoutMs,
    retry: { ...plan.retry, attempts: Number.isFinite(attempts) ? attempts : null },
  };
}

function forkNodes(nodes: readonly PlanNode[]): SagaGraphNode[] {
  return nodes.flatMap((node): SagaGraphNode[] => {
    switch (node.kind) {
      case "step":
        return [];
      case "parallel":
        return [{ id: node.name, kind: "parallel", steps: node.steps.map(({ name }) => name) }];
      case "branch":
        return [
          { id: node.name, kind: "branch", cases: Object.keys(node.cases) },
          ...Object.values(node.cases).flatMap(forkNodes),
        ];
    }
  });
}

/** Where the saga may be before the next node; `case` where it comes from a branch. */
type Tail = Pick<SagaGraphEdge, "from" | "case">;

function forwardEdges(nodes: readonly PlanNode[]): readonly SagaGraphEdge[] {
  const edges: SagaGraphEdge[] = [];
  const join = (tails: readonly Tail[], to: string): void => {
    for (const tail of tails) edges.push({ from: tail.from, to, kind: "forward", case: tail.case });
  };
  const walk = (path: readonly PlanNode[], start: readonly Tail[]): readonly Tail[] => {
    let tails = start;
    for (const node of path) {
      const id = node.kind === "step" ? node.step.name : node.name;
      join(tails, id);
      tails = [{ from: id, case: null }];
      if (node.kind === "parallel") {
        for (const step of node.steps) join(tails, step.name);
        tails = node.steps.map(({ name }) => ({ from: name, case: null }));
      } else if (node.kind === "branch") {
        tails = Object.entries(node.cases).flatMap(([name, inner]) =>
          walk(inner, [{ from: id, case: name }]),
        );
      }
    }
    return tails;
  };
  join(walk(nodes, [{ from: "$start", case: null }]), "$completed");
  return edges;
}

/** Walks forward and keeps what would be undone next: the last compensation that was met, one for each case of a branch. */
function backwardEdges(
  nodes: readonly PlanNode[],
  steps: readonly PlacedStep[],
): readonly SagaGraphEdge[] {
  const edges: SagaGraphEdge[] = [];
  const canBeUndone = new Set(
    steps.filter(({ place }) => place !== "after").map(({ step }) => step.name),
  );
  const join = (from: string, heads: readonly string[], kind: "undo" | "back"): void => {
    for (const to of heads) edges.push({ from, to, kind, case: null });
  };
  const walk = (path: readonly PlanNode[], start: readonly string[]): readonly string[] => {
    let heads = start;
    for (const node of path) {
      if (node.kind === "branch") {
        const before = heads;
        const ends = Object.values(node.cases).flatMap((inner) => walk(inner, before));
        heads = ends.length === 0 ? before : [...new Set(ends)];
        continue;
      }
      const members = node.kind === "step" ? [node.step] : node.steps;
      const known = members.filter(({ name }) => canBeUndone.has(name));
      for (const { name } of known.filter(({ compensation }) => compensation !== undefined)) {
        join(name, [compensationId(name)], "undo");
        join(compensationId(name), heads, "back");
        heads = [compensationId(name)];
      }
      // A group is undone as a whole, from its last member on.
      for (const { name } of known.filter(({ compensation }) => compensation === undefined)) {
        join(name, heads, "undo");
      }
    }
    return heads;
  };
  walk(nodes, ["$compensated"]);
  return edges;
}

function needsEdges(steps: readonly PlacedStep[]): readonly SagaGraphEdge[] {
  return steps.flatMap(({ step }) =>
    (step.compensation?.needs ?? []).map((need) => ({
      from: compensationId(step.name),
      to: compensationId(need),
      kind: "needs" as const,
      case: null,
    })),
  );
}

/** Two ways that agree in everything are one: a branch whose cases hold nothing joins itself again. */
function uniqueEdges(edges: readonly SagaGraphEdge[]): readonly SagaGraphEdge[] {
  const byText = new Map(edges.map((edge) => [JSON.stringify(edge), edge]));
  return [...byText.values()];
}
