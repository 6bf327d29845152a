import type { TestContext } from "vitest";

declare module "vitest" {
  interface TaskMeta {
    /** Printed under the table of `npm test`. */
    skipReason?: string;
  }
}

/** Skips the running test and tells `npm test` why. For what this computer lacks, never for a defect. */
export function skipBecause(context: TestContext, reason: string): never {
  context.task.meta.skipReason = reason;
  return context.skip(reason);
}
