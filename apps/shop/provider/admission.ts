import { ProblemError } from "../chassis/problem.ts";

/** Lets a limited number of requests in at a time. */
export interface Admission {
  /** Runs the work, or refuses at once when the house is full. */
  admit<T>(work: () => Promise<T>): Promise<T>;
  counts(): AdmissionCounts;
}

/** What came to the door since the start. */
export interface AdmissionCounts {
  readonly admitted: number;
  /** At once, at most. */
  readonly runningMax: number;
  readonly refused: number;
}

/** @throws ProblemError RATE_LIMITED from `admit`, for the request above the limit */
export function createAdmission(requestsMax: number): Admission {
  let running = 0;
  let admitted = 0;
  let runningMax = 0;
  let refused = 0;
  return {
    counts: () => ({ admitted, runningMax, refused }),
    async admit(work) {
      if (running >= requestsMax) {
        refused += 1;
        throw new ProblemError("RATE_LIMITED", `The provider takes ${requestsMax} at once.`, {
          retryAfterMs: 1000,
        });
      }
      running += 1;
      admitted += 1;
      runningMax = Math.max(runningMax, running);
      try {
        return await work();
      } finally {
        running -= 1;
      }
    },
  };
}
