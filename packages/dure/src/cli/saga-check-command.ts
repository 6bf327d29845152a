import type { SagaAdminStore } from "../admin/index.ts";
import { postgresAdmin } from "../postgres/index.ts";
import { checkInstance } from "../saga/instance-check.ts";
import type { InstanceProblem } from "../saga/instance-check.ts";
import type { SagaPlan } from "../saga/saga-decision.ts";
import { planKey, plansOf } from "../saga/saga-plans.ts";
import { withCheckedPool } from "./database.ts";
import type { DatabaseOptions } from "./database.ts";
import { exportedSagas } from "./exported-sagas.ts";
import { CliFailure } from "./failure.ts";
import type { CliOutput } from "./output.ts";
import { describeIds } from "./saga-texts.ts";
import { visible } from "./table.ts";

/** One reason, and the sagas that cannot go on for it. */
interface ProblemGroup extends InstanceProblem {
  readonly definition: string;
  readonly version: number;
  readonly sagaIds: string[];
}

interface CheckReport {
  readonly checked: number;
  /** Each saga once, whatever the number of its problems. */
  readonly stuck: number;
  readonly problems: readonly ProblemGroup[];
}

const batch = 500;
const shownMax = 20;
const progressEvery = 10_000;

/** `dure sagas check`: exit code 1 when a live saga cannot go on. */
export async function checkSagas(
  module: string,
  options: DatabaseOptions & { readonly json?: true },
  output: CliOutput,
): Promise<void> {
  const plans = plansOf(await exportedSagas(module));
  const { schema } = options;
  const report = await withCheckedPool(options, (pool) =>
    checkAll(postgresAdmin({ pool, schema }).sagas, plans, (checked) =>
      output.error(`${checked} checked`),
    ),
  );
  if (options.json === true) output.out(JSON.stringify(report, undefined, 2));
  else output.out(describeReport(report, module));
  if (report.stuck > 0) {
    const count = report.stuck === 1 ? "1 live saga" : `${report.stuck} live sagas`;
    throw new CliFailure(`${count} cannot go on under ${module}`, { cause: undefined });
  }
}

/** In batches, with none of them kept: only ids are. */
async function checkAll(
  store: SagaAdminStore,
  plans: ReadonlyMap<string, SagaPlan>,
  onProgress: (checked: number) => void,
): Promise<CheckReport> {
  const groups = new Map<string, ProblemGroup>();
  let checked = 0;
  let stuck = 0;
  let after: string | undefined;
  for (;;) {
    const ids = await store.live(batch, after);
    after = ids.at(-1);
    for (const saga of await store.load(ids)) {
      const { sagaId, definition, version, status } = saga;
      // It has ended since its id was read.
      if (status === "COMPLETED" || status === "COMPENSATED") continue;
      checked += 1;
      const problems = checkInstance(plans.get(planKey(definition, version)), saga);
      if (problems.length > 0) stuck += 1;
      for (const problem of problems) {
        const key = JSON.stringify([definition, version, problem.message]);
        const group = groups.get(key) ?? { ...problem, definition, version, sagaIds: [] };
        group.sagaIds.push(sagaId);
        groups.set(key, group);
      }
      if (checked % progressEvery === 0) onProgress(checked);
    }
    if (ids.length < batch) break;
  }
  const problems = [...groups.values()].toSorted(
    (one, other) => other.sagaIds.length - one.sagaIds.length,
  );
  return { checked, stuck, problems };
}

function describeReport({ checked, stuck, problems }: CheckReport, module: string): string {
  if (stuck === 0) return `all ${checked} live sagas can go on under ${module}`;
  const lines = problems.flatMap(({ definition, version, code, message, sagaIds }) => [
    `${visible(definition)} v${version} ${code}: ${visible(message)} (${sagaIds.length})`,
    `  ${describeIds(sagaIds, shownMax)}`,
  ]);
  return [...lines, `${stuck} of ${checked} live sagas cannot go on`].join("\n");
}
