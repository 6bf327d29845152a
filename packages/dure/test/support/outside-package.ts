import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import type { TestContext } from "vitest";
import { leaveOut } from "./leave-out.ts";

/** A package outside the workspaces, with a lock of its own. */
export type OutsidePackage = "frameworks" | "orms";

/**
 * What `tools/frameworks` or `tools/orms` has under that name, or the test is left out and says how to get it. What
 * is used of it is for the caller to say: its own types are not part of the repository.
 */
export async function needOutside<Shape>(
  context: TestContext,
  outside: OutsidePackage,
  name: string,
): Promise<Shape> {
  const folder = new URL(`../../../../tools/${outside}/`, import.meta.url);
  let path: string;
  try {
    path = createRequire(folder).resolve(name);
  } catch {
    return leaveOut(context, `${name} is missing: npm ci --prefix tools/${outside}`);
  }
  return (await import(pathToFileURL(path).href)) as Shape;
}
