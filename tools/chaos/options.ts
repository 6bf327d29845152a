import { randomInt } from "node:crypto";
import { fileURLToPath } from "node:url";
import {
  callersPath,
  oneOf,
  readCommandLine,
  textOf,
  wholeNumber,
} from "../../apps/shop/runtime/command-line.ts";
import type { OptionsConfig, OptionValues } from "../../apps/shop/runtime/command-line.ts";
import { UsageError } from "../../apps/shop/runtime/setup-error.ts";
import { regressions } from "./regressions.ts";
import type { ChaosRun } from "./run-chaos.ts";
import { brokerKinds } from "./schedule.ts";

/** What `npm run chaos` was asked for. */
export interface ChaosOptions {
  readonly file: string;
  readonly runs: readonly ChaosRun[];
}

/** What `npm run chaos` understands. */
export const chaosUsage: string = `npm run chaos -- [options]
  --minutes 5          how long things go wrong; fractions are allowed
  --seed N             decides what goes wrong when (default: a random one, which is printed)
  --broker postgres    postgres, kafka or redis
  --limit N            only the first N invoices of the file, once; the trouble ends with them
  --mode MODE          choreography or orchestration (default: the shop's)
  --concurrency 8      customers that order at the same time
  --file FILE.csv      the orders (default: ../shared/data/online-retail-2010-12.csv)
  --log-level error    of the services, on standard error
  --regressions        the seeds that have found a fault once, instead of one run
  --help`;

const config = {
  minutes: { type: "string" },
  seed: { type: "string" },
  broker: { type: "string" },
  limit: { type: "string" },
  mode: { type: "string" },
  concurrency: { type: "string" },
  file: { type: "string" },
  "log-level": { type: "string" },
  regressions: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const satisfies OptionsConfig;

const logLevels = ["silent", "error", "warn", "info", "debug", "trace"] as const;
const numberMax = 999_999_999;
/** Kept beside the repository. */
const dataFile = fileURLToPath(
  new URL("../../../shared/data/online-retail-2010-12.csv", import.meta.url),
);

/**
 * Reads the command line.
 *
 * @returns undefined when only help was asked for
 * @throws UsageError
 */
export function readChaosOptions(args: readonly string[]): ChaosOptions | undefined {
  const { values } = readCommandLine(args, config);
  if (values["help"] === true) return undefined;
  const file = textOf("file", values["file"]);
  return { file: file === undefined ? dataFile : callersPath(file), runs: runsFrom(values) };
}

function runsFrom(values: OptionValues): readonly ChaosRun[] {
  const run = runFrom(values);
  if (values["regressions"] !== true) return [run];
  for (const name of ["minutes", "seed", "broker"]) {
    if (values[name] !== undefined) throw new UsageError(`--${name} is not for --regressions`);
  }
  return regressions.map(({ broker, seed, minutes }) => {
    return { ...run, broker, seed, durationMs: minutes * 60_000 };
  });
}

function runFrom(values: OptionValues): ChaosRun {
  const number = (name: string, fallback: number): number =>
    wholeNumber(name, values[name], { min: 1, max: numberMax, fallback });
  return {
    broker: oneOf("broker", values["broker"], brokerKinds) ?? "postgres",
    seed: number("seed", randomInt(1, numberMax)),
    durationMs: Math.round(readMinutes(textOf("minutes", values["minutes"])) * 60_000),
    limit: values["limit"] === undefined ? undefined : number("limit", 1),
    mode: oneOf("mode", values["mode"], ["choreography", "orchestration"] as const),
    concurrency: number("concurrency", 8),
    instances: { order: 2 },
    logLevel: oneOf("log-level", values["log-level"], logLevels) ?? "error",
  };
}

function readMinutes(text: string | undefined): number {
  const minutes = text === undefined ? 5 : /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (minutes >= 0.2 && minutes <= 10_000) return minutes;
  throw new UsageError("--minutes must be a number from 0.2 to 10000");
}
