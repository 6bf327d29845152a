/** A definition can be drawn and checked without being run: the graph is JSON, the flowchart is Mermaid, and what is missing has a code. */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { careless, checkout } from "../../test/support/sagas.ts";
import type { AnySagaDefinition, PlanNode } from "./saga-definition.ts";
import { checkSaga } from "./saga-check.ts";
import { saga } from "./saga-builder.ts";
import { sagaGraph } from "./saga-graph.ts";
import { sagaMermaid } from "./saga-mermaid.ts";

const none = (): Promise<void> => Promise.resolve();
const draft = saga("draft", { version: 1, input: z.object({ orderId: z.string() }) });

function waysOf(definition: AnySagaDefinition, kind: string): readonly string[] {
  return sagaGraph(definition)
    .edges.filter((edge) => edge.kind === kind)
    .map(({ from, to, case: name }) => `${from} > ${to}${name === null ? "" : ` if ${name}`}`);
}

function codesOf(definition: AnySagaDefinition): readonly string[] {
  return checkSaga(definition).findings.map(
    ({ code, severity, step }) => `${severity} ${code} ${step}`,
  );
}

describe("the graph", () => {
  it("goes forward through groups and cases, also through a case that holds nothing", () => {
    expect(waysOf(checkout, "forward")).toEqual([
      "$start > create-order",
      "create-order > reserve-stock",
      "reserve-stock > prepare",
      "prepare > score-risk",
      "prepare > hold-money",
      "score-risk > size",
      "hold-money > size",
      "size > insure if large",
      "insure > capture-money",
      "size > capture-money if small",
      "capture-money > end",
      "end > $completed",
    ]);
  });

  it("goes back in the reverse order of start, past what has no compensation and what was not chosen", () => {
    expect(waysOf(checkout, "back")).toEqual([
      "create-order/compensate > $compensated",
      "reserve-stock/compensate > create-order/compensate",
      "hold-money/compensate > reserve-stock/compensate",
      "insure/compensate > hold-money/compensate",
    ]);
    expect(waysOf(checkout, "undo")).toEqual([
      "create-order > create-order/compensate",
      "reserve-stock > reserve-stock/compensate",
      "hold-money > hold-money/compensate",
      "score-risk > hold-money/compensate",
      "insure > insure/compensate",
      "capture-money > insure/compensate",
      "capture-money > hold-money/compensate",
    ]);
    expect(waysOf(checkout, "needs")).toEqual(["reserve-stock/compensate > hold-money/compensate"]);
  });

  it("is the same before and after JSON, endless attempts included", () => {
    const graph = sagaGraph(checkout);
    expect(JSON.parse(JSON.stringify(graph))).toEqual(graph);
    expect(graph).toMatchObject({ name: "checkout", version: 2, pivot: "capture-money" });
    expect(graph.nodes.find(({ id }) => id === "capture-money")).toMatchObject({
      isPivot: true,
      place: "pivot",
      retry: { attempts: null },
    });
    expect(graph.nodes.find(({ id }) => id === "insure")).toMatchObject({
      cases: [{ branch: "size", name: "large" }],
      compensation: "insure/compensate",
    });
  });
});

describe("the flowchart", () => {
  it("draws the way back dashed, marks the pivot, and survives a step that is called end", () => {
    const lines = sagaMermaid(checkout).split("\n");
    expect(lines[0]).toBe("flowchart TD");
    for (const line of [
      '  end__start(["checkout v2"])',
      '  step_capture_money{{"capture-money<br/>run, 10 s, pivot"}}',
      '    step_hold_money["hold-money<br/>run, 1500 ms"]',
      '  compensation_insure("undo insure<br/>run, 10 s")',
      "  step_capture_money --> step_end",
      '  branch_size -->|"small"| step_capture_money',
      "  compensation_insure -.-> compensation_hold_money",
      "  class step_capture_money pivot",
    ]) {
      expect(lines).toContain(line);
    }
  });

  it("has only lines of the forms that Mermaid 12's own parser was seen to take", () => {
    const text = '"[^"]+"';
    const forms = [
      "flowchart TD",
      String.raw` +\w+(\(\[${text}\]\)|\[${text}\]|\(${text}\)|\{\{${text}\}\}|\{${text}\}|\[/${text}/\])`,
      String.raw` +\w+ (-->|-\.->|-->\|${text}\||-\.->\|${text}\|) \w+`,
      String.raw`  subgraph \w+\[" "\]`,
      "  end",
      "  classDef \\w+ [a-z-]+:[\\w ]+",
      "  class [\\w,]+ \\w+",
    ];
    const form = new RegExp(`^(?:${forms.join("|")})$`);
    for (const definition of [checkout, careless]) {
      const lines = sagaMermaid(definition).trimEnd().split("\n");
      expect(lines.filter((line) => !form.test(line))).toEqual([]);
    }
  });
});

describe("the check", () => {
  it("finds nothing in a definition that can be undone up to its pivot", () => {
    expect(checkSaga(checkout)).toEqual({ findings: [], coverage: { compensated: 4, steps: 4 } });
  });

  it("finds steps that cannot be undone, and an end that may have happened", () => {
    expect(codesOf(careless)).toEqual([
      "error STEP_NOT_COMPENSATED charge",
      "warning NO_PIVOT thank",
      "error TIMEOUT_NOT_HANDLED thank",
    ]);
    expect(checkSaga(careless).coverage).toEqual({ compensated: 1, steps: 3 });
  });

  it("accepts an end in the service's own database, and calls undoing it unreachable", () => {
    const begun = draft.step("a", { run: none, compensate: none });
    expect(codesOf(begun.step("b", { local: none }).end())).toEqual([]);
    expect(codesOf(begun.step("b", { local: none, compensate: none }).end())).toEqual([
      "warning COMPENSATION_UNREACHABLE b",
    ]);
  });

  it("accepts what changes nothing", () => {
    expect(codesOf(draft.step("a", { run: none, readOnly: true }).end())).toEqual([]);
  });

  it("knows that neighbours in a group have to be undone, and that two cases never meet", () => {
    const grouped = draft.parallel("g", (group) =>
      group.step("a", { local: none }).step("b", { local: none }),
    );
    expect(codesOf(grouped.end())).toEqual([
      "error STEP_NOT_COMPENSATED a",
      "error STEP_NOT_COMPENSATED b",
    ]);
    const split = draft.branch("way", () => (Math.abs(1) > 2 ? "x" : "y"), {
      x: (branch) => branch.step("a", { local: none }),
      y: (branch) => branch.step("b", { local: none }),
    });
    expect(codesOf(split.end())).toEqual([]);
  });

  it("finds a pivot that decides nothing, or gives up", () => {
    const pivot = draft.pivot("a", { run: none, readOnly: true, retry: { attempts: 3 } }).end();
    expect(codesOf(pivot)).toEqual(["warning PIVOT_READ_ONLY a", "warning PIVOT_MAY_GIVE_UP a"]);
  });

  it("finds a compensation after the pivot in a definition that was put together by hand", () => {
    const undone = draft.step("b", { run: none, compensate: none }).end().nodes;
    const nodes: PlanNode[] = [...draft.pivot("a", { run: none }).end().nodes, ...undone];
    expect(codesOf({ ...careless, nodes })).toEqual(["error COMPENSATION_UNREACHABLE b"]);
  });
});
