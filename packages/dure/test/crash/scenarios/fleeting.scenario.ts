/** A scenario that comes by a point in its first two runs and never again: `FLEETING_FILE` counts its runs. */
import { appendFileSync, readFileSync } from "node:fs";
import type { Scene } from "../../../src/explorer/index.ts";

export function scenario({ point }: Scene): void {
  const file = process.env["FLEETING_FILE"] ?? "";
  appendFileSync(file, "x");
  point("always");
  if (readFileSync(file, "utf8").length <= 2) point("fleeting");
}
