import type { CheckoutMode } from "../../apps/shop/contracts/http/orders.ts";
import type { Plan } from "../../apps/shop/replay/plan.ts";
import type { Progress } from "../../apps/shop/replay/progress.ts";
import { runReplay } from "../../apps/shop/replay/run-replay.ts";
import type { Report } from "../../apps/shop/replay/report.ts";
import { readProcessList } from "../../apps/shop/runtime/process-list.ts";
import { waitUntilReady } from "../../apps/shop/runtime/readiness.ts";
import type { ServiceName } from "../../apps/shop/chassis/config.ts";
import { startChaosShop } from "./chaos-shop.ts";
import type { ChaosShop } from "./chaos-shop.ts";
import { awaitNoLimbo } from "./limbo.ts";
import { watchOrder } from "./order-watch.ts";
import type { OrderVerdict } from "./order-watch.ts";
import { describeFault, scheduleOf } from "./schedule.ts";
import type { BrokerKind, Lane } from "./schedule.ts";
import { createScheduledTrouble } from "./scheduled-trouble.ts";

/** One run, which its seed and these figures describe. */
export interface ChaosRun {
  readonly broker: BrokerKind;
  readonly seed: number;
  /** How long things go wrong. */
  readonly durationMs: number;
  /** The trouble ends with the last invoice of the plan. Else the plan is posted again and again until the time is over. */
  readonly limit: number | undefined;
  readonly mode: CheckoutMode | undefined;
  /** Customers that order at a time. */
  readonly concurrency: number;
  readonly instances: Readonly<Partial<Record<ServiceName, number>>>;
  readonly logLevel: string;
}

/** What {@link runChaos} takes beside the run. */
export interface ChaosRunOptions {
  /** What is posted. */
  readonly plan: Plan;
  /** Gets the schedule at first, and a line for each disturbance. */
  readonly say: (text: string) => void;
  /** @defaultValue standard output */
  readonly progress?: Progress;
  /** Gives up a start under way. */
  readonly signal?: AbortSignal;
}

/** What a run came to. */
export interface ChaosResult {
  readonly ok: boolean;
  readonly text: string;
}

/** So long the shop's client asks again, and so long orders may stand still. */
const patienceMs = 300_000;
/** What was left over when all orders were final gets so long to go away; longer than any lease. */
const limboMsMax = 120_000;

/**
 * Starts a shop, spoils it as the seed says while real orders are posted, lets everything heal, and finds
 * out whether anything is lost, doubled, out of order or left over.
 */
export async function runChaos(run: ChaosRun, options: ChaosRunOptions): Promise<ChaosResult> {
  const { plan, say, progress, signal } = options;
  const lanes = scheduleOf(run);
  say(`Broker ${run.broker}, seed ${run.seed}, ${run.durationMs / 60_000} minutes. The schedule:`);
  for (const line of scheduleLines(lanes)) say(line);
  const { broker, instances, logLevel } = run;
  await using stage = await startChaosShop({ broker, instances, logLevel, log: say, signal });
  const killWithUs = (): void => stage.kill();
  process.once("exit", killWithUs);
  try {
    signal?.throwIfAborted();
    say("The shop is ready; the trouble begins.");
    const watch = watchOrder(stage.processesPath);
    const isEndless = run.limit === undefined;
    const trouble = createScheduledTrouble(stage, { lanes, isEndless, log: say, ...run });
    const report = await runReplay(stage.shop.url, plan, {
      mode: run.mode,
      concurrency: run.concurrency,
      faults: "none",
      stock: isEndless ? "endless" : "ample",
      trouble: trouble.start,
      patienceMs,
      ...(progress === undefined ? {} : { progress }),
    });
    const limbo = await awaitNoLimbo(stage.database, { withinMs: limboMsMax });
    const restAt = performance.now();
    await readyAll(stage);
    const { count, healedAt = restAt } = trouble;
    const order = await watch.stop();
    return resultOf({ run, report, limbo, order, count, healMs: restAt - healedAt });
  } finally {
    process.off("exit", killWithUs);
  }
}

async function readyAll({ processesPath }: ChaosShop): Promise<void> {
  for (const { url } of await readProcessList(processesPath)) {
    await waitUntilReady(url, { withinMs: 60_000 });
  }
}

interface Findings {
  readonly run: ChaosRun;
  readonly report: Report;
  readonly limbo: readonly string[];
  readonly order: OrderVerdict;
  readonly count: number;
  readonly healMs: number;
}

function resultOf({ run, report, limbo, order, count, healMs }: Findings): ChaosResult {
  const troubles = [
    ...limbo.map((each) => `left over: ${each}`),
    ...order.violations.map((each) => `order: ${each}`),
  ];
  const ok = report.ok && troubles.length === 0;
  const lines = [
    report.text,
    "",
    `broker             ${run.broker}, seed ${run.seed}, ${run.durationMs / 60_000} minutes`,
    `disturbances       ${count}`,
    `to heal            ${(healMs / 1000).toFixed(1)} s from the last repair until nothing was under way`,
    `order              ${order.violations.length} processes saw gaps or reorders, of ${order.processCount} that lived; ${order.duplicateCount} copies dropped`,
    `limbo              ${limbo.length === 0 ? "nothing left over" : limbo.join("; ")}`,
    ...troubles,
    "",
    ok
      ? "The shop is whole."
      : `The shop is NOT whole. To repeat: npm run chaos -- ${argumentsOf(run)}`,
  ];
  return { ok, text: lines.join("\n") };
}

function argumentsOf({ broker, seed, durationMs, limit, mode }: ChaosRun): string {
  return [
    `--broker ${broker} --seed ${seed} --minutes ${durationMs / 60_000}`,
    ...(limit === undefined ? [] : [`--limit ${limit}`]),
    ...(mode === undefined ? [] : [`--mode ${mode}`]),
  ].join(" ");
}

function scheduleLines(lanes: readonly Lane[]): readonly string[] {
  return lanes
    .flat()
    .sort((one, other) => one.atMs - other.atMs)
    .map(({ atMs, durationMs, fault }) => {
      const forMs = durationMs > 0 ? `, for ${(durationMs / 1000).toFixed(1)} s` : "";
      return `  ${(atMs / 1000).toFixed(1).padStart(6)} s  ${describeFault(fault)}${forMs}`;
    });
}
