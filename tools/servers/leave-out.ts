import type { TestContext } from "vitest";

declare module "vitest" {
  interface TaskMeta {
    skipReason?: string;
  }
}

/** Leaves a test out where this machine lacks what it needs, and says why; `.ci/run` fails on it. */
export function leaveOut(context: TestContext, reason: string): never {
  context.task.meta.skipReason = reason;
  return context.skip();
}
