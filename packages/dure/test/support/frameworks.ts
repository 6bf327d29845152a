import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import type { TestContext } from "vitest";
import { leaveOut } from "./leave-out.ts";

const require = createRequire(new URL("../../../../tools/frameworks/", import.meta.url));

/**
 * A package of `tools/frameworks`, or the test is left out and says how to get it. What is used of it is for the
 * caller to say: its own types are not part of the repository.
 */
export async function needFramework<Shape>(context: TestContext, name: string): Promise<Shape> {
  let path: string;
  try {
    path = require.resolve(name);
  } catch {
    return leaveOut(context, `${name} is missing: npm ci --prefix tools/frameworks`);
  }
  return (await import(pathToFileURL(path).href)) as Shape;
}
