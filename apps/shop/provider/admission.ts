import { ProblemError } from "../chassis/problem.ts";

/** Lets a limited number of requests in at a time. */
export interface Admission {
  /** Runs the work, or refuses at once when the house is full. */
  admit<T>(work: () => Promise<T>): Promise<T>;
}

/** @throws ProblemError RATE_LIMITED from `admit`, for the request above the limit */
export function createAdmission(requestsMax: number): Admission {
  let running = 0;
  return {
    async admit(work) {
      if (running >= requestsMax) {
        throw new ProblemError("RATE_LIMITED", `The provider takes ${requestsMax} at once.`, {
          retryAfterMs: 1000,
        });
      }
      running += 1;
      try {
        return await work();
      } finally {
        running -= 1;
      }
    },
  };
}
