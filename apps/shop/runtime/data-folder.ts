import { randomBytes } from "node:crypto";
import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startEmbeddedPostgres } from "dure/embedded";
import { SetupError } from "./setup-error.ts";

/** Where a shop keeps what outlives it. */
export interface DataFolder {
  readonly path: string;
  /** The data directory of the embedded PostgreSQL. */
  readonly postgres: string;
  /** The distributed set-up's list of its processes. */
  readonly processes: string;
}

/** Names what lies in a data folder; touches nothing. */
export function dataFolder(path: string): DataFolder {
  return {
    path,
    postgres: join(path, "postgres"),
    processes: join(path, "processes.json"),
  };
}

/**
 * Makes the folder, or with `fresh` empties it: of what the shop has put there, and of nothing
 * else, since a path can be mistyped.
 *
 * @throws DureError EMBEDDED_POSTGRES_IN_USE when a running shop holds the data
 */
export async function prepareDataFolder(
  folder: DataFolder,
  options: { readonly fresh: boolean },
): Promise<void> {
  if (options.fresh) await wipe(folder);
  try {
    await mkdir(folder.path, { recursive: true });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SetupError(`The data folder cannot be made: ${why}. Name another one: --data DIR`);
  }
}

/** The secret that signs the demo's tokens: made once, so that tokens survive a restart. */
export async function demoSecret(folder: DataFolder): Promise<string> {
  const path = secretPath(folder);
  const known = await readFile(path, "utf8").catch(() => "");
  if (known.trim().length >= 32) return known.trim();
  const secret = randomBytes(32).toString("base64url");
  await writeFile(path, `${secret}\n`, { mode: 0o600 });
  return secret;
}

function secretPath(folder: DataFolder): string {
  return join(folder.path, "secret");
}

async function wipe(folder: DataFolder): Promise<void> {
  if (await exists(`${folder.postgres}.owner`)) {
    // Starting and stopping throws when a live shop holds the data, and ends a killed one's server.
    await (await startEmbeddedPostgres({ dataDir: folder.postgres })).stop();
  }
  const ours = [
    folder.postgres,
    `${folder.postgres}.password`,
    `${folder.postgres}.log`,
    folder.processes,
    secretPath(folder),
  ];
  for (const path of ours) await rm(path, { recursive: true, force: true });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
