// Installs the packages outside the workspaces that tests and examples meet: `node tools/outside.ts`.
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const tools: string = fileURLToPath(new URL(".", import.meta.url));
const INSTALL_MS_MAX = 5 * 60_000;

/** Each has a lock of its own. */
export const outsidePackages: readonly string[] = ["frameworks", "orms"];

if (import.meta.main) process.exitCode = installOutside() ? 0 : 1;

/**
 * Installs what is not there, or older than its lock. Whether all is there: what is not is said, and the tests that
 * need it are skipped and say so too.
 */
export function installOutside(): boolean {
  return outsidePackages.map(install).every((isThere) => isThere);
}

/** Whether a folder's lock is newer than what was installed by it, or nothing was. */
export function isStale(folder: string): boolean {
  const installed = changedAt(join(folder, "node_modules/.package-lock.json"));
  const locked = changedAt(join(folder, "package-lock.json"));
  return installed === undefined || (locked !== undefined && locked > installed);
}

function install(name: string): boolean {
  const folder = join(tools, name);
  if (!isStale(folder)) return true;
  console.log(`npm ci --prefix tools/${name}`);
  const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  const { status } = spawnSync("npm", args, {
    cwd: folder,
    // Standard output is for the table of the tests.
    stdio: ["ignore", 2, 2],
    timeout: INSTALL_MS_MAX,
  });
  if (status !== 0)
    console.error(`tools/${name} could not be installed (npm's exit code ${status})`);
  return status === 0;
}

function changedAt(file: string): number | undefined {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs;
}
