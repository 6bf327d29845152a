import { parseArgs } from "node:util";

/** The cases, by the numbers of the performance targets. */
export const caseNames = [
  "p1",
  "p2",
  "p3",
  "p4",
  "p5",
  "p6",
  "p7",
  "p8",
  "p9",
  "p10",
  "p11",
  "p12",
  "p14",
  "wal",
  "redis-p5",
  "redis-p7",
  "redis-p8",
  "locks",
  "hot",
] as const;
/** One of {@link caseNames}. */
export type CaseName = (typeof caseNames)[number];

/** What the command line says, with the defaults filled in. */
export interface BenchOptions {
  readonly cases: readonly CaseName[];
  /** Each ratio is taken once a round; the table shows the median. */
  readonly rounds: number;
  /** How long each variant is measured in a round, all slices together. */
  readonly seconds: number;
  readonly slices: number;
  /** P5: events to drain. */
  readonly backlog: number;
  /** P7: messages to consume. */
  readonly messages: number;
  /** P8: how long latency is measured in a round. */
  readonly latencySeconds: number;
  /** P10, P11 and P14: pairs of with and without. */
  readonly pairs: number;
  readonly pairSeconds: number;
  readonly pairBacklog: number;
  /** P10: how long it is written under the held transaction before anything is measured. */
  readonly holdSeconds: number;
  /** P11: finished events in the tables. */
  readonly grownEvents: number;
  /** P11: finished sagas in the tables. */
  readonly grownSagas: number;
  /** P12: sagas that run when their process is killed. */
  readonly runningSagas: number;
  /** P14: sagas that wait, each with a timer. */
  readonly waitingSagas: number;
  /** P14: how long nothing is done while the processor time is counted. */
  readonly idleSeconds: number;
  readonly isJson: boolean;
}

const numbers = {
  rounds: { default: 3, says: "rounds; the table shows medians over them" },
  seconds: { default: 4, says: "seconds per variant and round" },
  slices: { default: 8, says: "slices that these seconds are cut into" },
  backlog: { default: 50_000, says: "p5: events to drain" },
  messages: { default: 20_000, says: "p7: messages to consume" },
  "latency-seconds": { default: 6, says: "p8: seconds per round" },
  pairs: { default: 10, says: "p10, p11, p14: pairs" },
  "pair-seconds": { default: 2, says: "p10, p11, p14: seconds of writing on each side of a pair" },
  "pair-backlog": {
    default: 40_000,
    says: "p10, p11, p14: events to drain on each side of a pair",
  },
  "hold-seconds": { default: 10, says: "p10: seconds at 1,000 events/s before the pairs" },
  "grown-events": { default: 200_000, says: "p11: finished events in the tables" },
  "grown-sagas": { default: 200_000, says: "p11: finished sagas in the tables" },
  "running-sagas": { default: 100_000, says: "p12: sagas that run when their process is killed" },
  "waiting-sagas": { default: 1_000_000, says: "p14: sagas that wait, each with a timer" },
  "idle-seconds": { default: 30, says: "p14: seconds of doing nothing" },
} as const;

/** Throws with a message for the user when the command line is wrong. */
export function readOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      ...Object.fromEntries(
        Object.keys(numbers).map((name) => [name, { type: "string" as const }]),
      ),
    },
  });
  const given: Readonly<Record<string, unknown>> = values;
  const number = (name: keyof typeof numbers): number => {
    const value = Number(given[name] ?? numbers[name].default);
    const isDuration = name.endsWith("seconds");
    if (!(value > 0) || !(isDuration || Number.isInteger(value))) {
      throw new Error(`--${name}: must be a ${isDuration ? "" : "whole "}number above 0`);
    }
    return value;
  };
  return {
    cases: readCases(positionals),
    rounds: number("rounds"),
    seconds: number("seconds"),
    slices: number("slices"),
    backlog: number("backlog"),
    messages: number("messages"),
    latencySeconds: number("latency-seconds"),
    pairs: number("pairs"),
    pairSeconds: number("pair-seconds"),
    pairBacklog: number("pair-backlog"),
    holdSeconds: number("hold-seconds"),
    grownEvents: number("grown-events"),
    grownSagas: number("grown-sagas"),
    runningSagas: number("running-sagas"),
    waitingSagas: number("waiting-sagas"),
    idleSeconds: number("idle-seconds"),
    isJson: given["json"] === true,
  };
}

/** What the options mean, for a command line that is wrong. */
export function usage(): string {
  const options = Object.entries(numbers).map(
    ([name, { default: value, says }]) => `  --${name.padEnd(16)} ${says} (${value})`,
  );
  return [
    `npm run bench -- [${caseNames.join(" ")}] [options]`,
    ...options,
    `  --${"json".padEnd(16)} machine-readable figures`,
  ].join("\n");
}

function readCases(given: readonly string[]): readonly CaseName[] {
  const names = given.map((name) => name.toLowerCase());
  const unknown = names.filter((name) => !caseNames.some((known) => known === name));
  if (unknown.length > 0) throw new Error(`no such case: ${unknown.join(", ")}`);
  return names.length === 0 ? caseNames : caseNames.filter((name) => names.includes(name));
}
