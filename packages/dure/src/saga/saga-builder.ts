import type { RetryPolicy } from "../core/backoff.ts";
import { DureError } from "../core/errors.ts";
import type { StandardSchema } from "../core/standard-schema.ts";
import { definitionProblems } from "./definition-checks.ts";
import type { AnySagaDefinition, PlanNode, SagaContext } from "./saga-definition.ts";
import type { SagaPath } from "./saga-path.ts";
import { planStep, reportUnknown } from "./step-plan.ts";
import type { GivenStep, StepDefaults, StepPlace } from "./step-plan.ts";
import type { Storable } from "./storable.ts";

/** What {@link saga} takes beside the name. */
export interface SagaOptions<Given, Input> {
  /** From 1; raised when a saga of the old version could not go on with the new one. Both run side by side. */
  readonly version: number;
  /** Any Standard Schema. What it makes of the given input is stored as JSON and is what the steps read. */
  readonly input: StandardSchema<Given, Input>;
  /** What the saga is about (an order's id), to be found by. */
  readonly key?: (input: Input) => string;
  /** From when on before its pivot a saga is undone, in milliseconds after its start. @defaultValue never */
  readonly deadlineMs?: number;
  /** For the steps before the pivot; the pivot and what follows keep theirs. @defaultValue `sagaDefaults.retry.step` */
  readonly retry?: Partial<RetryPolicy>;
  /** For all compensations. @defaultValue `sagaDefaults.retry.compensation` */
  readonly compensationRetry?: Partial<RetryPolicy>;
  /** For all steps and compensations. @defaultValue by kind: `sagaDefaults.timeoutMs` */
  readonly timeoutMs?: number;
}

/** A saga of which nothing is defined but its input. */
export type NewSaga<Given, Input> = SagaPath<
  {
    readonly given: Given;
    readonly input: Input;
    readonly client: unknown;
    readonly place: "before the pivot";
  },
  Readonly<Record<never, never>>,
  never
>;

/**
 * Begins the definition of a saga: a business action of several steps that either happens in full or is
 * undone. The definition is a value: it is frozen, and knows neither engine nor database. Its code may run
 * again in another process at any step, so it must depend on nothing but what it is handed.
 */
export function saga<Given, Input>(
  name: string,
  options: SagaOptions<Given, Input> & Storable<Input, "input">,
): NewSaga<Given, Input> {
  const problems: string[] = [];
  reportUnknown(options, knownOptions, "", (problem) => problems.push(problem));
  const schema: unknown = options.input;
  const isSchema = (typeof schema === "object" || typeof schema === "function") && schema !== null;
  if (!isSchema || !("~standard" in schema)) problems.push("input: must be a Standard Schema");
  if (options.key !== undefined && typeof options.key !== "function") {
    problems.push("key: must be a function");
  }
  const draft: Draft = {
    name,
    options,
    nodes: [],
    problems,
    isAfterPivot: false,
    inside: undefined,
  };
  // The types of the path are checked where it is walked; here there is one path for all of them.
  return pathOf(draft) as unknown as NewSaga<Given, Input>;
}

const knownOptions = [
  "version",
  "input",
  "key",
  "deadlineMs",
  "retry",
  "compensationRetry",
  "timeoutMs",
];

/** What has been said so far. */
interface Draft {
  readonly name: string;
  readonly options: StepDefaults & {
    readonly version: number;
    readonly input: AnySagaDefinition["schema"];
    readonly key?: AnySagaDefinition["businessKey"];
    readonly deadlineMs?: number;
  };
  readonly nodes: readonly PlanNode[];
  readonly problems: readonly string[];
  readonly isAfterPivot: boolean;
  readonly inside: "parallel" | "branch" | undefined;
}

type Define = (inner: Path) => unknown;

/** {@link SagaPath} without its types; also what groups and branches are handed. */
interface Path {
  readonly [draftKey]: Draft;
  withClient(): Path;
  step(name: string, options: GivenStep): Path;
  pivot(name: string, options: GivenStep): Path;
  parallel(name: string, define: Define): Path;
  branch(
    name: string,
    choose: (context: SagaContext) => string,
    cases: Readonly<Record<string, Define>>,
  ): Path;
  output(compute: (context: SagaContext) => unknown): AnySagaDefinition;
  end(): AnySagaDefinition;
}

const draftKey: unique symbol = Symbol("draft");

function pathOf(draft: Draft): Path {
  return Object.freeze<Path>({
    [draftKey]: draft,
    withClient: () => pathOf(draft),
    step: (name, options) =>
      pathOf(withStep(draft, name, options, draft.isAfterPivot ? "afterPivot" : "step")),
    pivot(name, options) {
      const next = withStep(draft, name, options, "pivot");
      return pathOf({
        ...next,
        isAfterPivot: true,
        problems: [...next.problems, ...pivotProblems(draft, name)],
      });
    },
    parallel: (name, define) => pathOf(withGroup(draft, name, define)),
    branch: (name, choose, cases) => pathOf(withBranch(draft, { name, choose, cases })),
    output: (compute) => finish(draft, compute),
    end: () => finish(draft, () => undefined),
  });
}

function withStep(draft: Draft, name: string, options: GivenStep, place: StepPlace): Draft {
  const problems = [...draft.problems];
  const step = planStep(name, options, { place, defaults: draft.options }, problems);
  return { ...draft, nodes: [...draft.nodes, Object.freeze({ kind: "step", step })], problems };
}

function pivotProblems(draft: Draft, name: string): readonly string[] {
  const problems: string[] = [];
  if (draft.inside !== undefined) problems.push(`pivot "${name}": is inside a ${draft.inside}`);
  if (draft.isAfterPivot) problems.push(`pivot "${name}": is the second, and a saga has one`);
  return problems;
}

function withGroup(draft: Draft, name: string, define: Define): Draft {
  const inner = walkInside(draft, { inside: "parallel", what: `parallel "${name}"`, define });
  const nested = inner.nodes.flatMap((node) => (node.kind === "step" ? [] : [node]));
  const problems = nested.map(
    (node) => `parallel "${name}": holds the ${node.kind} "${node.name}"; it may hold steps only`,
  );
  const steps = inner.nodes.flatMap((node) => (node.kind === "step" ? [node.step] : []));
  const node: PlanNode = { kind: "parallel", name, steps: Object.freeze(steps) };
  return {
    ...draft,
    nodes: [...draft.nodes, Object.freeze(node)],
    problems: [...draft.problems, ...inner.problems, ...problems],
  };
}

function withBranch(
  draft: Draft,
  { name, choose, cases }: { name: string } & Pick<BranchArguments, "choose" | "cases">,
): Draft {
  const problems = [...draft.problems];
  if (typeof choose !== "function")
    problems.push(`branch "${name}": needs a function that chooses`);
  const walked = Object.entries(cases).map(([caseName, define]) => {
    const what = `branch "${name}", case "${caseName}"`;
    const inner = walkInside(draft, { inside: "branch", what, define });
    problems.push(...inner.problems);
    return [caseName, Object.freeze(inner.nodes)] as const;
  });
  const node: PlanNode = {
    kind: "branch",
    name,
    choose,
    cases: Object.freeze(Object.fromEntries(walked)),
  };
  return { ...draft, nodes: [...draft.nodes, Object.freeze(node)], problems };
}

interface BranchArguments {
  readonly choose: (context: SagaContext) => string;
  readonly cases: Readonly<Record<string, Define>>;
}

/** What was said inside a group or a case. */
function walkInside(
  draft: Draft,
  { inside, what, define }: { inside: "parallel" | "branch"; what: string; define: Define },
): Pick<Draft, "nodes" | "problems"> {
  if (typeof define !== "function") return { nodes: [], problems: [`${what}: needs a function`] };
  const end = define(pathOf({ ...draft, nodes: [], problems: [], inside }));
  if (typeof end === "object" && end !== null && draftKey in end) return (end as Path)[draftKey];
  return {
    nodes: [],
    problems: [`${what}: must return the path that it was handed, with its steps`],
  };
}

function finish(draft: Draft, compute: (context: SagaContext) => unknown): AnySagaDefinition {
  const { name, options } = draft;
  const definition: AnySagaDefinition = {
    name,
    version: options.version,
    schema: options.input,
    nodes: Object.freeze([...draft.nodes]),
    deadlineMs: options.deadlineMs,
    businessKey: options.key,
    output: compute,
  };
  const problems = [...draft.problems, ...definitionProblems(definition)];
  if (typeof compute !== "function") problems.push("output: must be a function");
  if (draft.inside !== undefined) problems.push(`a ${draft.inside} cannot end the saga`);
  if (problems.length > 0) {
    throw new DureError("CONFIGURATION_INVALID", `saga "${name}": ${problems.join("; ")}`);
  }
  return Object.freeze(definition);
}
