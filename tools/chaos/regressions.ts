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
export const regressions: readonly Regression[] = [];
