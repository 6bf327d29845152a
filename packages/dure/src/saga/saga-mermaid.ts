import type { AnySagaDefinition } from "./saga-definition.ts";
import { sagaGraph } from "./saga-graph.ts";
import type { SagaGraphEdge, SagaGraphNode } from "./saga-graph.ts";

/**
 * The graph of a definition as a Mermaid flowchart, for a README, a pull request or the console: the way
 * forward in solid lines, the way back in dashed ones, the pivot marked.
 */
export function sagaMermaid(definition: AnySagaDefinition): string {
  const graph = sagaGraph(definition);
  const byId = new Map(graph.nodes.map((node) => [node.id, node]));
  const idOf = (id: string): string => mermaidId(byId.get(id) ?? { id: "$start", kind: "end" });
  const isInGroup = (node: SagaGraphNode): boolean => node.kind === "step" && node.group !== null;
  const title = `${graph.name} v${graph.version}`;
  const lines = [
    "flowchart TD",
    ...graph.nodes.filter((node) => !isInGroup(node)).map((node) => `  ${shapeOf(node, title)}`),
    ...graph.nodes.flatMap((node) => {
      if (node.kind !== "parallel") return [];
      const members = graph.nodes.filter((x) => x.kind === "step" && x.group === node.id);
      return [
        `  subgraph group_${mermaidId(node)}[" "]`,
        ...members.map((member) => `    ${shapeOf(member, title)}`),
        "  end",
      ];
    }),
    ...graph.edges.map((edge) => `  ${idOf(edge.from)} ${arrowOf(edge)} ${idOf(edge.to)}`),
    "  classDef pivot stroke-width:4px",
    "  classDef compensation stroke-dasharray:5 5",
    ...classLines(graph.nodes, "pivot", (node) => node.kind === "step" && node.isPivot),
    ...classLines(graph.nodes, "compensation", (node) => node.kind === "compensation"),
  ];
  return `${lines.join("\n")}\n`;
}

/** Prefixed, since a step may be called "end", which Mermaid reads as a word of its own. */
function mermaidId(node: SagaGraphNode): string {
  const name = (node.kind === "compensation" ? node.of : node.id).replace(/[^A-Za-z0-9]/g, "_");
  return `${node.kind}_${name}`;
}

function shapeOf(node: SagaGraphNode, title: string): string {
  const id = mermaidId(node);
  switch (node.kind) {
    case "end":
      return `${id}([${quoted(node.id === "$start" ? title : node.id.slice(1))}])`;
    case "step": {
      const marks = node.isPivot ? ", pivot" : node.isReadOnly ? ", reads only" : "";
      const text = quoted(node.id, `${node.action}, ${timeOf(node.timeoutMs)}${marks}`);
      return node.isPivot ? `${id}{{${text}}}` : `${id}[${text}]`;
    }
    case "compensation":
      return `${id}(${quoted(`undo ${node.of}`, `${node.action}, ${timeOf(node.timeoutMs)}`)})`;
    case "parallel":
      return `${id}[/${quoted(node.id, "in parallel")}/]`;
    case "branch":
      return `${id}{${quoted(node.id)}}`;
  }
}

function arrowOf({ kind, case: name }: SagaGraphEdge): string {
  switch (kind) {
    case "forward":
      return name === null ? "-->" : `-->|${quoted(name)}|`;
    case "undo":
    case "back":
      return "-.->";
    case "needs":
      return `-.->|"needs"|`;
  }
}

function classLines(
  nodes: readonly SagaGraphNode[],
  name: string,
  belongs: (node: SagaGraphNode) => boolean,
): readonly string[] {
  const ids = nodes.filter(belongs).map(mermaidId);
  return ids.length === 0 ? [] : [`  class ${ids.join(",")} ${name}`];
}

function timeOf(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000} s` : `${ms} ms`;
}

/** Mermaid has no escape for a quote but its own entity. */
function quoted(...rows: readonly string[]): string {
  return `"${rows.map((row) => row.replaceAll('"', "#quot;")).join("<br/>")}"`;
}
