import { renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { z } from "zod";

/** One running process of a distributed shop. */
export interface ProcessEntry {
  readonly name: string;
  /** Counted from 1, which is the one that peers reach. */
  readonly instance: number;
  readonly pid: number;
  readonly url: string;
}

const listSchema: z.ZodType<readonly ProcessEntry[]> = z.array(
  z.strictObject({ name: z.string(), instance: z.int(), pid: z.int().min(2), url: z.string() }),
);

/**
 * Replaces the list as a whole, so that no reader ever sees half of one. Synchronous, because two
 * changes at once must not overtake each other, and it is a few hundred bytes.
 */
export function writeProcessList(path: string, entries: readonly ProcessEntry[]): void {
  const draft = `${path}.new`;
  writeFileSync(draft, `${JSON.stringify(entries, undefined, 2)}\n`);
  renameSync(draft, path);
}

/** The processes that run at the moment; none if the file is missing. */
export async function readProcessList(path: string): Promise<readonly ProcessEntry[]> {
  const text = await readFile(path, "utf8").catch(() => "[]");
  return listSchema.parse(JSON.parse(text));
}
