import { forkChild } from "../child.ts";
import type { Child } from "../child.ts";
import type { BenchCase, BenchContext } from "../context.ts";
import { openDatabase } from "../database.ts";
import { valueFigure } from "../figure.ts";
import { pause, untilTrue } from "../load.ts";
import { Series } from "../measure.ts";
import { sagaEngine } from "../sagas.ts";
import type { SagaEngine } from "../sagas.ts";

/** What a process that runs the sagas is told. */
export type OwnerRequest =
  /** Start so many, which all wait in their second step. */
  | { readonly kind: "hold"; readonly url: string; readonly total: number }
  /** Start, and let the second step of whatever is taken over go through. */
  | { readonly kind: "takeOver"; readonly url: string }
  | { readonly kind: "report" };
/** What it answers. */
export type OwnerAnswer =
  | { readonly kind: "held"; readonly inSecondStep: number }
  | { readonly kind: "started" }
  /** The most memory that the process ever had, as the kernel counts it. */
  | { readonly kind: "report"; readonly rssMbMax: number };

type Owner = Child<OwnerRequest, OwnerAnswer>;

const last = "last next record after the kill";
const half = "half of the next records after the kill";
const memory = "memory of the process that took over";
const memoryMbMax = 300;
const graceMs = 10_000;
/** Between two looks at how far it is: each costs the server some milliseconds. */
const lookEveryMs = 250;

/** P12: a process is killed while it runs many sagas, and a fresh one goes on with all of them. */
export const measureRecovery: BenchCase = async (context) => {
  const { options } = context;
  const series = new Series();
  for (let round = 1; round <= options.rounds; round += 1) {
    await measureRound(context, series, { round, engine: sagaEngine });
  }
  const sagas = `${options.runningSagas.toLocaleString("en-US")} sagas`;
  const atMost = sagaEngine.leaseMs + graceMs;
  const durations = [
    {
      ...valueFigure(series, "P12", { work: last, unit: "ms", atMost }),
      work: `${sagas}: ${last}`,
    },
    { ...valueFigure(series, "P12", { work: half, unit: "ms" }), work: `${sagas}: ${half}` },
  ];
  return [
    ...durations,
    valueFigure(series, "P12", { work: memory, unit: "MB", atMost: memoryMbMax }),
  ];
};

async function measureRound(
  { options, server, progress }: BenchContext,
  series: Series,
  { round, engine }: { readonly round: number; readonly engine: SagaEngine },
): Promise<void> {
  const { runningSagas: total, rounds } = options;
  await using database = await openDatabase(server, `recovery_${round}`);
  const { url, pool } = database;
  await using dying = forkOwner();
  const held = await dying.ask({ kind: "hold", url, total });
  const inSecondStep = held.kind === "held" ? held.inSecondStep : 0;
  progress(`P12 round ${round}/${rounds}: ${total} run, ${inSecondStep} in their second step`);
  await dying.kill();
  const killedAt = performance.now();
  await using taker = forkOwner();
  await taker.ask({ kind: "takeOver", url });
  const until = async (count: number): Promise<number> => {
    await untilTrue(`${count} next records`, async () => {
      if ((await engine.countReleased(pool)) >= count) return true;
      await pause(lookEveryMs);
      return false;
    });
    return performance.now() - killedAt;
  };
  const halfMs = await until(total / 2);
  const lastMs = await until(total);
  const report = await taker.ask({ kind: "report" });
  const rssMbMax = report.kind === "report" ? report.rssMbMax : Number.NaN;
  series.add(half, halfMs);
  series.add(last, lastMs);
  series.add(memory, rssMbMax);
  progress(
    `P12 round ${round}/${rounds}: all within ${Math.round(lastMs)} ms, ${Math.round(rssMbMax)} MB`,
  );
}

function forkOwner(): Owner {
  return forkChild(new URL("p12-owner-child.ts", import.meta.url));
}
