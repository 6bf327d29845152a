import { Option } from "commander";
import type { Command } from "commander";
import { checkSaga } from "../saga/saga-check.ts";
import type { SagaCheck } from "../saga/saga-check.ts";
import { sagaGraph } from "../saga/saga-graph.ts";
import type { SagaGraph, SagaGraphStep } from "../saga/saga-graph.ts";
import { sagaMermaid } from "../saga/saga-mermaid.ts";
import { exportedSagas } from "./exported-sagas.ts";
import { CliFailure } from "./failure.ts";
import type { CliOutput } from "./output.ts";
import { alignColumns, visible } from "./table.ts";

interface GraphOptions {
  readonly json?: true;
  readonly mermaid?: true;
  readonly check?: true;
}

/** Adds `dure graph`. It connects to nothing. */
export function addGraphCommand(program: Command, output: CliOutput): void {
  program
    .command("graph")
    .description("Show the sagas that a module exports, draw them, check them. Runs the module.")
    .argument("<module>", "a .ts or .js file")
    .addOption(new Option("--json", "print graphs and findings as JSON").conflicts("mermaid"))
    .option("--mermaid", "print Mermaid flowcharts")
    .option("--check", "exit code 1 when a saga has an error")
    .action((module: string, options: GraphOptions) => showGraphs(module, options, output));
}

async function showGraphs(module: string, options: GraphOptions, output: CliOutput): Promise<void> {
  const definitions = await exportedSagas(module);
  const sagas = definitions.map((definition) => ({
    definition,
    graph: sagaGraph(definition),
    check: checkSaga(definition),
  }));
  if (options.json === true) {
    const value = sagas.map(({ graph, check }) => ({ graph, check }));
    output.out(JSON.stringify(value, undefined, 2));
  } else if (options.mermaid === true) {
    output.out(sagas.map(({ definition }) => sagaMermaid(definition).trimEnd()).join("\n\n"));
    if (options.check === true) {
      // The flowcharts may be on their way to a file.
      for (const { graph, check } of sagas) output.error(describeCheck(graph, check));
    }
  } else {
    const texts = sagas.map(({ graph, check }) =>
      [describeSteps(graph), describeCheck(graph, check)].join("\n"),
    );
    output.out(texts.join("\n\n"));
  }
  const errors = sagas.flatMap(({ check }) => check.findings.filter(isError)).length;
  if (options.check === true && errors > 0) {
    const what = errors === 1 ? "1 error" : `${errors} errors`;
    throw new CliFailure(`${what} in the sagas of ${module}`, { cause: undefined });
  }
}

function describeSteps(graph: SagaGraph): string {
  const deadline = graph.deadlineMs === null ? "" : `, deadline ${timeOf(graph.deadlineMs)}`;
  const rows = graph.nodes.flatMap((node) => (node.kind === "step" ? [rowOf(node, graph)] : []));
  const columns = ["STEP", "WHERE", "ACTION", "TIMEOUT", "ATTEMPTS", "UNDONE BY", "NEEDS"];
  return [
    `saga ${visible(graph.name)}, version ${graph.version}${deadline}`,
    alignColumns([columns, ...rows], { right: [3, 4] }),
  ].join("\n");
}

function rowOf(step: SagaGraphStep, graph: SagaGraph): readonly string[] {
  const undo = graph.nodes.find(({ id }) => id === step.compensation);
  const where = [
    ...step.cases.map(({ branch, name }) => `${branch}=${name}`),
    ...(step.group === null ? [] : [step.group]),
    ...(step.isPivot ? ["pivot"] : []),
  ];
  const isUndone = undo?.kind === "compensation";
  const nothing = step.place === "before" ? (step.isReadOnly ? "reads only" : "nothing") : "";
  return [
    step.id,
    where.join(" "),
    step.action,
    timeOf(step.timeoutMs),
    step.retry.attempts === null ? "endless" : String(step.retry.attempts),
    isUndone ? undo.action : nothing,
    isUndone ? undo.needs.join(" ") : "",
  ];
}

function describeCheck(graph: SagaGraph, { findings, coverage }: SagaCheck): string {
  return [
    `${visible(graph.name)} v${graph.version}: ${coverage.compensated} of ${coverage.steps} steps that may have to be undone have a compensation`,
    ...findings.map(({ code, severity, message }) => `${severity} ${code}: ${visible(message)}`),
  ].join("\n");
}

function isError({ severity }: SagaCheck["findings"][number]): boolean {
  return severity === "error";
}

function timeOf(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000} s` : `${ms} ms`;
}
