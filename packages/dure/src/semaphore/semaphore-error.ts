import { DureError } from "../core/errors.ts";

/** The facts of a refusal. */
export interface SemaphoreBusyFacts {
  readonly semaphore: string;
  /** The place in the line: the one it waited from, or for a full line the one it would have had. From 1. */
  readonly position: number;
  /** How many wait before it. */
  readonly lineLength: number;
  readonly waitedMs: number;
}

/**
 * No permit was had and nothing was begun: answer 503 with Retry-After, or try again later. `SEMAPHORE_LINE_FULL`: the line is full,
 * and it was refused at once. `PERMIT_TIMED_OUT`: none came free within `waitMs`.
 */
export class SemaphoreBusyError extends DureError {
  override readonly name: string = "SemaphoreBusyError";
  readonly semaphore: string;
  /** The place in the line: the one it waited from, or for a full line the one it would have had. From 1. */
  readonly position: number;
  /** How many waited before it. */
  readonly lineLength: number;
  readonly waitedMs: number;

  constructor(code: "SEMAPHORE_LINE_FULL" | "PERMIT_TIMED_OUT", facts: SemaphoreBusyFacts) {
    const { semaphore, position, lineLength, waitedMs } = facts;
    super(
      code,
      code === "SEMAPHORE_LINE_FULL"
        ? `semaphore "${semaphore}": all permits are held and its line of ${lineLength} is full; nothing was begun. Try again later`
        : `semaphore "${semaphore}": no permit came free within ${Math.round(waitedMs)} ms, from place ${position} of the line; nothing was begun. Try again later`,
    );
    this.semaphore = semaphore;
    this.position = position;
    this.lineLength = lineLength;
    this.waitedMs = waitedMs;
  }
}

/** Tells a refusal for lack of permits from anything else, across copies of the library. */
export function isSemaphoreBusy(error: unknown): error is SemaphoreBusyError {
  return error instanceof Error && error.name === "SemaphoreBusyError" && "isDureError" in error;
}
