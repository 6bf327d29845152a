import { DureError } from "../core/errors.ts";
import { systemClock } from "../core/clock.ts";
import type { CrashPoint, Fault } from "./crash-point.ts";
import type { ExploredPoint } from "./report.ts";

/** What {@link explore} needs to know. */
export interface ExploreOptions {
  /** Where the scenario is: `new URL("./checkout.scenario.ts", import.meta.url)`. See `ScenarioModule`. */
  readonly module: URL | string;
  /** @defaultValue `["crash"]` */
  readonly faults?: readonly Fault[];
  /** How many points: all, or so many drawn by `seed`. @defaultValue `"all"` */
  readonly points?: "all" | number;
  /** @defaultValue another one each time; the report names it */
  readonly seed?: number;
  /** Leaves out those for which it answers false, for example to look at one again. */
  readonly only?: (point: CrashPoint) => boolean;
  /** Points explored at the same time, each with a process. @defaultValue 2 */
  readonly parallelism?: number;
  /** How long one process may take, in milliseconds; then it is killed. @defaultValue 60 000 */
  readonly processMsMax?: number;
  /** A PostgreSQL in which databases may be made. @defaultValue an embedded one, in a temporary folder */
  readonly serverUrl?: string;
  /** The databases of the scenario, where its services have one each. @defaultValue `["main"]` */
  readonly databases?: readonly string[];
  /** Added to the environment of the processes. */
  readonly env?: Readonly<Record<string, string>>;
  /** Of Node, for the processes. @defaultValue those of this process, without the inspector's */
  readonly execArgv?: readonly string[];
  /** Ends everything: the processes are killed and `explore` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told after each point. */
  readonly onProgress?: (progress: ExploreProgress) => void;
}

/** How far an exploration is. */
export interface ExploreProgress {
  readonly doneCount: number;
  readonly plannedCount: number;
  readonly last: ExploredPoint;
}

/** The options with their defaults. */
export type ExploreSettings = Required<Omit<ExploreOptions, "module" | "serverUrl" | "signal">> & {
  readonly moduleUrl: string;
  readonly serverUrl: string | undefined;
  readonly signal: AbortSignal;
};

/**
 * Fills in the defaults.
 * @throws CONFIGURATION_INVALID, naming all that cannot be used
 */
export function exploreSettings(options: ExploreOptions): ExploreSettings {
  const settings: ExploreSettings = {
    moduleUrl: String(options.module),
    faults: options.faults ?? ["crash"],
    points: options.points ?? "all",
    seed: options.seed ?? Math.floor(systemClock.random() * 2 ** 32),
    only: options.only ?? (() => true),
    parallelism: options.parallelism ?? 2,
    processMsMax: options.processMsMax ?? 60_000,
    serverUrl: options.serverUrl,
    databases: options.databases ?? ["main"],
    env: options.env ?? {},
    execArgv: options.execArgv ?? process.execArgv.filter((flag) => !flag.startsWith("--inspect")),
    signal: options.signal ?? new AbortController().signal,
    onProgress: options.onProgress ?? (() => undefined),
  };
  const problems = problemsOf(settings);
  if (problems.length === 0) return settings;
  throw new DureError("CONFIGURATION_INVALID", `explore: ${problems.join("; ")}`);
}

function problemsOf(settings: ExploreSettings): readonly string[] {
  const { moduleUrl, faults, points, seed, parallelism, processMsMax, databases } = settings;
  const isWhole = (value: number, [min, max]: readonly [number, number]): boolean =>
    Number.isInteger(value) && value >= min && value <= max;
  const checks: readonly (readonly [boolean, string])[] = [
    [
      /^(?:file|data):/.test(moduleUrl),
      "module: must be a file's URL, such as import.meta.resolve gives",
    ],
    [
      faults.length > 0 && faults.every((fault) => fault === "crash" || fault === "answer-lost"),
      'faults: must be some of "crash" and "answer-lost"',
    ],
    [points === "all" || isWhole(points, [1, 1e6]), 'points: must be "all" or a number from 1'],
    [isWhole(seed, [0, 2 ** 32]), "seed: must be a whole number from 0 to 2^32"],
    [isWhole(parallelism, [1, 64]), "parallelism: must be a whole number from 1 to 64"],
    [
      isWhole(processMsMax, [100, 86_400_000]),
      "processMsMax: must be a whole number of milliseconds from 100 to 86400000",
    ],
    [
      databases.length > 0 && databases.every((name) => /^[a-z][a-z0-9_]{0,19}$/.test(name)),
      "databases: each needs a name of 1 to 20 of a-z, 0-9 and _, beginning with a letter",
    ],
    [new Set(databases).size === databases.length, "databases: names must differ"],
  ];
  return checks.flatMap(([isRight, problem]) => (isRight ? [] : [problem]));
}
