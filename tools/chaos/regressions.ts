import type { BrokerKind } from "./schedule.ts";

/** A run that has found a fault once, and must not find it again. */
export interface Regression {
  readonly broker: BrokerKind;
  readonly seed: number;
  readonly minutes: number;
  /** What it found. */
  readonly found: string;
}

/** `npm run chaos -- --regressions` runs them all. */
export const regressions: readonly Regression[] = [
  {
    broker: "postgres",
    seed: 1,
    minutes: 1,
    found: "a session that ended between two queries of a transaction ended its service's process",
  },
  {
    broker: "kafka",
    seed: 21,
    minutes: 3,
    found: "half-open connections to its database held the provider's pool for good",
  },
];
