import type { FlowDefinition, FlowStepPlan } from "./flow-definition.ts";

/** A flow as a graph that JSON can carry: to be drawn, compared or kept. */
export interface FlowGraph {
  readonly name: string;
  readonly version: number;
  readonly nodes: readonly FlowGraphNode[];
  readonly edges: readonly FlowGraphEdge[];
}

/** A place of the graph. The ids of steps hold a slash or are their names, those of ends begin with a dollar sign. */
export type FlowGraphNode =
  | { readonly id: "$start" | "$turned" | "$completed" | "$compensated"; readonly kind: "end" }
  | {
      readonly id: string;
      /** `wait`: a service is to answer. `undo`: it is to say that what it did is undone. */
      readonly kind: "wait" | "undo";
      readonly step: string;
      readonly service: string;
      readonly withinMs: number;
    };

/** A way from one place to another: the event that is heard. */
export interface FlowGraphEdge {
  readonly from: string;
  readonly to: string;
  readonly event: string;
  /** `forward`: towards completion. `turn`: from here on it is undone. `back`: something is undone. */
  readonly kind: "forward" | "turn" | "back";
}

/** The graph of a flow. The same definition gives the same graph. */
export function flowGraph(flow: FlowDefinition): FlowGraph {
  const edges = edgesOf(flow);
  const ends = (["$start", "$turned", "$completed", "$compensated"] as const).filter((id) =>
    edges.some(({ from, to }) => from === id || to === id),
  );
  return {
    name: flow.name,
    version: flow.version,
    nodes: [
      ...ends.map((id) => ({ id, kind: "end" }) as const),
      ...flow.steps.map(waitNode),
      ...flow.steps.flatMap((step) => (step.undone === undefined ? [] : [undoNode(step)])),
    ],
    edges,
  };
}

function edgesOf({ steps, start, completedBy, turnedBy }: FlowDefinition): FlowGraphEdge[] {
  const idByDone = new Map([
    [start, "$start"],
    ...steps.map(({ done, name }) => [done, name] as const),
  ]);
  const cameFrom = (event: string): string => idByDone.get(event) ?? "$start";
  return [
    ...steps.flatMap(({ name, after }) =>
      after.map((event) => edge("forward", cameFrom(event), name, event)),
    ),
    ...completedBy.map((event) => edge("forward", cameFrom(event), "$completed", event)),
    ...steps.flatMap(({ name, refused }) =>
      refused.map((event) => edge("turn", name, "$turned", event)),
    ),
    ...turnedBy.map((event) => edge("turn", "$start", "$turned", event)),
    ...steps.flatMap(({ name, undone }) =>
      undone === undefined ? [] : [edge("back", undoId(name), "$compensated", undone)],
    ),
  ];
}

/**
 * The graph of a flow as a Mermaid flowchart: the way forward in solid lines, what turns it back and what is
 * then undone in dashed ones, each with its event.
 */
export function flowMermaid(flow: FlowDefinition): string {
  const { name, version, nodes, edges } = flowGraph(flow);
  const undoing = nodes.filter(({ kind }) => kind === "undo");
  const lines = [
    "flowchart TD",
    ...nodes.map((node) => `  ${shapeOf(node, `${name} v${version}`)}`),
    ...edges.map(({ from, to, event, kind }) => {
      const arrow = kind === "forward" ? "-->" : "-.->";
      return `  ${mermaidId(from)} ${arrow}|"${event}"| ${mermaidId(to)}`;
    }),
    ...undoing.map(({ id }) => `  ${mermaidId("$turned")} -.-> ${mermaidId(id)}`),
    "  classDef undo stroke-dasharray:5 5",
    ...(undoing.length === 0
      ? []
      : [`  class ${undoing.map(({ id }) => mermaidId(id)).join(",")} undo`]),
  ];
  return `${lines.join("\n")}\n`;
}

function waitNode({ name, service, withinMs }: FlowStepPlan): FlowGraphNode {
  return { id: name, kind: "wait", step: name, service, withinMs };
}

function undoNode({ name, service, undoneWithinMs }: FlowStepPlan): FlowGraphNode {
  return { id: undoId(name), kind: "undo", step: name, service, withinMs: undoneWithinMs };
}

function undoId(step: string): string {
  return `${step}/undone`;
}

function edge(kind: FlowGraphEdge["kind"], from: string, to: string, event: string): FlowGraphEdge {
  return { from, to, event, kind };
}

/** Prefixed, since a step may be called "end", which Mermaid reads as a word of its own. */
function mermaidId(id: string): string {
  const [name = "", undone] = id.split("/");
  const word = name.replace(/[^A-Za-z0-9]/g, "_");
  return `${undone === undefined ? "node" : "undo"}_${word}`;
}

function shapeOf(node: FlowGraphNode, title: string): string {
  const id = mermaidId(node.id);
  if (node.kind === "end") {
    return `${id}(["${node.id === "$start" ? title : node.id.slice(1)}"])`;
  }
  const { step, service, withinMs } = node;
  const time = withinMs % 1_000 === 0 ? `${withinMs / 1_000} s` : `${withinMs} ms`;
  const text = `${step}<br/>${service}, ${time}`;
  return node.kind === "wait" ? `${id}["${text}"]` : `${id}("undo ${text}")`;
}
