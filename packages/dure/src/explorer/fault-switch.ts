import type { CrashPoint, SeenPoint } from "./crash-point.ts";

/** Stands at each point that a process comes by: counts them, and makes one of them fail. */
export interface FaultSwitch {
  /** Comes to a point around nothing. */
  at(name: string): void;
  /** Comes to a statement or a call; what it answers is asked when the answer is there. */
  begin(name: string): AnswerSwitch;
  /** How often it came by this name so far. */
  countOf(name: string): number;
}

/** Asked when the answer is there: it may not come back, it says. */
export interface AnswerSwitch {
  /** Whether the caller is to get an error in place of the answer. */
  answered(): "passed" | "lost";
  /** The statement or call failed by itself. */
  failed(): void;
}

/** What {@link createFaultSwitch} needs to know. */
export interface FaultSwitchOptions {
  /** Without it nothing fails. */
  readonly fault?: CrashPoint | undefined;
  /** Told each point. */
  readonly onPoint: (point: SeenPoint) => void;
  /** Told right before the fault. */
  readonly onHit: () => void;
  /** Ends the process. */
  readonly die: () => void;
}

/** Counts by name, so that what loops do beside each other does not change what a point is called. */
export function createFaultSwitch({ fault, onPoint, onHit, die }: FaultSwitchOptions): FaultSwitch {
  const counts = new Map<string, number>();
  const count = (name: string): number => {
    const occurrence = (counts.get(name) ?? 0) + 1;
    counts.set(name, occurrence);
    return occurrence;
  };
  const isHit = (point: SeenPoint): boolean => {
    onPoint(point);
    const { name, occurrence, when } = point;
    if (fault?.name !== name || fault.occurrence !== occurrence || fault.when !== when)
      return false;
    onHit();
    if (when !== "answer-lost") die();
    return true;
  };
  return {
    countOf: (name) => counts.get(name) ?? 0,
    at: (name) => void isHit({ name, occurrence: count(name), when: "at" }),
    begin(name) {
      const occurrence = count(name);
      isHit({ name, occurrence, when: "before" });
      return {
        answered() {
          isHit({ name, occurrence, when: "after" });
          return isHit({ name, occurrence, when: "answer-lost" }) ? "lost" : "passed";
        },
        failed: () => void isHit({ name, occurrence, when: "after" }),
      };
    },
  };
}

/** Outside a scenario: nothing is counted and nothing fails. */
export const noFaultSwitch: FaultSwitch = {
  at() {},
  countOf: () => 0,
  begin: () => ({ answered: () => "passed", failed() {} }),
};

/** What a caller gets whose answer was lost, as from a socket that was reset. */
export function lostAnswer(name: string): Error {
  return Object.assign(
    new Error(`Connection terminated: the explorer lost the answer of ${name}`),
    { code: "ECONNRESET" },
  );
}
