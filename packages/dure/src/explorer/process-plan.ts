import type { CrashPoint } from "./crash-point.ts";

/** What a process of the explorer has to do. It comes as JSON in `DURE_EXPLORER_PLAN`. */
export interface ProcessPlan {
  readonly moduleUrl: string;
  /** `settle`: recover, observe and check. */
  readonly phase: "prepare" | "scenario" | "settle";
  readonly databaseUrls: Readonly<Record<string, string>>;
  /** Where the scenario dies or loses an answer; without it nothing happens and the points are counted. */
  readonly fault?: CrashPoint;
  /** Against which `settle` compares; without it the snapshot is only told. */
  readonly references?: { readonly completed: unknown; readonly untouched?: unknown };
}

/** What such a process tells, one line of JSON each, on its file descriptor 3. */
export type ProcessMessage =
  | {
      readonly kind: "point";
      readonly name: string;
      readonly occurrence: number;
      readonly when: CrashPoint["when"];
    }
  /** The fault happens now. */
  | { readonly kind: "hit" }
  /** The scenario is over; `cameBy`: how often it came by the name of its fault. */
  | { readonly kind: "done"; readonly cameBy: number }
  /** `hasOutcomes`: the module wants to see the untouched snapshot. */
  | {
      readonly kind: "settled";
      readonly observed: unknown;
      readonly problems: readonly string[];
      readonly hasOutcomes: boolean;
    }
  | { readonly kind: "failed"; readonly error: string };

/** The environment variable of the plan. */
export const planVariable = "DURE_EXPLORER_PLAN";
/** Past the standard three, which are the scenario's own. */
export const reportDescriptor = 3;
